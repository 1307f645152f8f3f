"""What can be seen in a model's files before its weights are loaded."""

import re
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError, safe_open
from tokenizers import Tokenizer
from torch import nn
from transformers import (
    CONFIG_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedTokenizerBase,
)
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
)

from mutual_taught.artifacts.files import read_json
from mutual_taught.checks.check import Check
from mutual_taught.errors import first_line
from mutual_taught.models.folders import load, load_whole, shards

Kind = Literal["policy", "reward_model"]
FAMILIES = {
    "policy": MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    "reward_model": MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
}
CLASSES = {"policy": AutoModelForCausalLM, "reward_model": AutoModelForSequenceClassification}
LONGER = ("linear", "dynamic", "yarn", "longrope", "llama3")  # rotary scalings that see further
PACKED = re.compile(r"\.(qweight|qzeros|absmax|weight_packed|weight_scale(_inv)?|SCB)$").search


def examine(folder: Path, kind: Kind, max_length: int) -> Iterator[Check]:
    """Check a model's files, before hours are spent on it.

    Args:
        folder: of the model.
        kind: what it is to be.
        max_length: of a conversation, in tokens.

    Raises:
        InputError: a file cannot be read at all.
    """
    yield (known := _known(read_json(folder / "config.json")))
    if known.fault:
        return
    config = load(AutoConfig, folder)
    yield (family := _family(config, kind))
    yield (quantised := _quantised(read_json(folder / "config.json")))
    yield positions(config, max_length)
    yield (readable := _readable(folder))
    yield (weights := _weights(folder))
    if any(check.fault for check in (family, quantised, readable, weights)):
        return
    if kind == "reward_model":
        labels = config.num_labels
        yield Check(
            "labels",
            str(labels),
            "" if labels == 1 else "expected one; choose another models.reward_model",
        )
    model = load_whole(CLASSES[kind], folder, device_map="meta")
    yield Check("weights of its config", "all there", "")
    if kind == "reward_model":
        heads = dict(model.named_children()).keys() - {model.base_model_prefix}
        yield Check(
            "head",
            ", ".join(sorted(heads)),
            ""
            if isinstance(getattr(model, "score", None), nn.Linear)
            else "expected a linear layer called score; choose another",
        )


def positions(config: PretrainedConfig, max_length: int) -> Check:
    """Check that a model has a position for every token of the longest conversation.

    Args:
        config: of the model. Rotary scaling multiplies the positions it was first trained on.
        max_length: of a conversation, in tokens.
    """
    said = config.get_text_config().to_dict()
    found = said.get("max_position_embeddings") or said.get("n_positions")
    if not isinstance(found, int) or found < 1:
        return Check("positions", "without limit", "")
    rope = said.get("rope_parameters") or {}
    each = [one for one in (rope, *rope.values()) if isinstance(one, dict) and "rope_type" in one]
    for one in each:
        if one["rope_type"] in LONGER:
            first = one.get("original_max_position_embeddings") or found
            found = max(found, int(first * float(one.get("factor") or 1)))
    return Check(
        "positions",
        str(found),
        ""
        if found >= max_length
        else f"expected tokens.max_length {max_length} or more; lower that to {found}",
    )


def rows(tokenizer: PreTrainedTokenizerBase, config: PretrainedConfig) -> Check:
    """Check that a model's embedding, which is of the shape its config says, knows every token."""
    tokens = 1 + max(tokenizer.get_vocab().values(), default=-1)
    size = config.get_text_config().vocab_size
    return Check(
        "tokens and rows of the embedding",
        f"{tokens} and {size}",
        ""
        if tokens <= size
        else "expected a row for every token; resize the embedding, or choose another model",
    )


def _known(said: Mapping[str, object]) -> Check:
    """Check that transformers has the model's code: what comes with a model is never run."""
    name = said.get("model_type")
    fault = f"expected one that transformers {version('transformers')} knows"
    if "auto_map" in said:
        fault += ", without code of its own, which is never run"
    known = isinstance(name, str) and name in CONFIG_MAPPING
    return Check("model_type", repr(name), "" if known else fault + "; choose another model")


def _family(config: PretrainedConfig, kind: Kind) -> Check:
    """Check that a model reads from left to right, and can be what it is to be."""
    name, said = config.model_type, config.get_text_config().to_dict()
    masked = name in MODEL_FOR_MASKED_LM_MAPPING_NAMES and not said.get("is_decoder")
    both = (
        said.get("use_bidirectional_attention") in (True, "all") or said.get("is_causal") is False
    )
    found, fault = "left to right", ""
    if config.is_encoder_decoder:
        found = "an encoder with a decoder"
    elif masked or both:
        found = "an encoder, whose tokens see those after them"
    elif name not in FAMILIES[kind]:
        found = f"transformers has no {name} as a {kind.replace('_', ' ')}"
    if found != "left to right":
        fault = "expected a decoder, whose tokens see those before them; choose another model"
    return Check("how it reads", found, fault)


def _quantised(said: Mapping[str, Any]) -> Check:
    inner = said.get("text_config") or {}
    for name in ("quantization_config", "compression_config"):
        if settings := said.get(name) or inner.get(name):
            method = settings.get("quant_method") if isinstance(settings, dict) else settings
            return _packed(str(method))
    return Check("format", "not quantised", "")


def _packed(found: str) -> Check:
    return Check(
        "format",
        f"quantised ({found})",
        "expected weights in float32, float16 or bfloat16; dequantise the model first",
    )


def _readable(folder: Path) -> Check:
    """Check that this version of tokenizers can read the tokenizer."""
    path = folder / "tokenizer.json"
    if path.is_file():
        try:
            Tokenizer.from_file(str(path))
        except Exception as error:  # it raises Exception itself
            return Check(
                "tokenizer",
                f"tokenizers {version('tokenizers')} cannot read tokenizer.json "
                f"({first_line(error)[:120]})",
                "expected one that it can; save the model with these versions, or choose another",
            )
    tokenizer = load(AutoTokenizer, folder)
    return Check("tokenizer", type(tokenizer).__name__, "")


def _weights(folder: Path) -> Check:
    """Read all weights, one at a time: that they can be read, as numbers, and are finite."""
    count = 0
    for name in shards(folder):
        try:
            with safe_open(folder / name, framework="pt") as file:
                for key in file.keys():  # noqa: SIM118 (it is no mapping)
                    kind = file.get_slice(key).get_dtype()
                    if PACKED(key) or kind.startswith(("F8", "F4", "F6")):
                        return _packed(f"weight {key} of {kind}")
                    value = file.get_tensor(key)
                    if value.is_floating_point() and not torch.isfinite(value).all():
                        return Check(
                            "weights",
                            f"{key} holds NaN or an infinite number",
                            "expected numbers; fetch the model again, or choose another",
                        )
                    count += 1
        except (SafetensorError, OSError) as error:
            return Check(
                "weights",
                f"{name} cannot be read ({first_line(error)[:120]})",
                "expected a whole file; fetch the model again",
            )
    return Check("weights", f"{count}, all finite", "")
