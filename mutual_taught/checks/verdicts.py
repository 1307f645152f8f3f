"""What a comparison found, kept by a model's settings, and the fastest way to read that agrees."""

import functools
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, get_args

import torch
from torch import Tensor
from transformers import PreTrainedModel

from mutual_taught.artifacts.files import digest, read_json, sha256, write_json
from mutual_taught.checks.plain import FAILS
from mutual_taught.config.blocks import Tokens
from mutual_taught.errors import InputError
from mutual_taught.models.load import device, read_as, require_model
from mutual_taught.models.packed.forward import learn
from mutual_taught.models.packed.whole import Rows
from mutual_taught.pipeline import work
from mutual_taught.terminal.progress import line

NEAR = 1e-3  # nats a token, or of the largest reward; rounding of float32 is below 2e-4
NEAR_GRADIENT = 1e-2  # relative, of all weights together
FILLING = (
    "The boat lies in the harbour. In the morning the sea is calm, and the wind comes from the "
    "west; by noon there are waves, and small clouds over the hills. "
)
VOLATILE = {
    "_name_or_path",
    "architectures",
    "dtype",
    "torch_dtype",
    "transformers_version",
    "id2label",
    "label2id",
    "bos_token_id",
    "use_cache",
}
FOUND = {"local_files_only", "name_or_path"}  # of tokenizer_config.json
TOKENIZER = (
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "chat_template.jinja",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "vocab.txt",
)


class Verdict(NamedTuple):
    """How a model is to read conversations, and how far our ways are from a plain pass.

    gaps: largest difference of each thing compared: nats a token, rewards, and the relative one of
    gradients; infinite for what the model does not do at all. wrong: why what was
    compared is not right; empty where it is, or where that is refused at once.
    """

    rows: Rows
    gaps: dict[str, float]
    wrong: str = ""

    @property
    def said(self) -> str:
        """Say in a few words what was found."""
        ways = {
            "packed": "packed",
            "padded": "whole, padded (each answer with its prompt, which costs time)",
            "single": "whole, with others of their length (each answer with its prompt, which "
            "costs time)",
        }
        return f"conversations are read {ways[self.rows]}; largest differences: " + ", ".join(
            f"{name} {gap:.1g}" for name, gap in self.gaps.items()
        )


def place(kind: str, folder: Path, tokens: Tokens, asked: Mapping[str, object]) -> Path:
    """Name the file that keeps what was found of a model: of its settings, not of its weights.

    Those trained from it have the same settings, and are not looked at again.
    """
    config = {
        name: value
        for name, value in read_json(folder / "config.json").items()
        if name not in VOLATILE and not (name == "pad_token_id" and kind == "policy")
    }
    whole = {
        "kind": kind,
        "config": config,
        **asked,
        "max_length": tokens.max_length,
        "files": {name: _decides(folder / name) for name in TOKENIZER if (folder / name).is_file()},
        "code": _code(),
        "versions": work.versions(),
        "device": device().type,
    }
    return work.root() / "checks" / f"{digest(whole)[:32]}.json"


def _decides(path: Path) -> str:
    """Hash what a file of the tokenizer decides: how it was found on loading is written into it."""
    if path.name != "tokenizer_config.json":
        return sha256(path)
    found = read_json(path)
    return digest({name: value for name, value in found.items() if name not in FOUND})


@functools.cache
def _code() -> str:
    """Hash what computes, and what compares: an edit elsewhere looks at no model again."""
    package = work.ROOT / work.PACKAGE
    return work.hash_sources(package / room for room in ("checks", "models", "sampling", "scoring"))


def kept(
    kind: str,
    folder: Path,
    tokens: Tokens,
    asked: Mapping[str, object],
    look: Callable[[], Verdict],
) -> Verdict:
    """Read what was found of a model before, or look at it, keep it and say what is amiss."""
    require_model(folder)
    path = place(kind, folder, tokens, asked)
    if path.is_file():
        said = read_json(path)
        gaps = {name: math.inf if gap is None else gap for name, gap in said["gaps"].items()}
        return Verdict(said["rows"], gaps, said["wrong"])
    line(f"comparing {folder} with a plain pass of transformers")
    try:
        found = look()
    except torch.OutOfMemoryError as error:  # of this moment, and so no verdict to keep
        raise InputError(
            f"{folder}: no memory is left to compare it with transformers "
            f"({' '.join(str(error).split())[:100]}); expected room for it twice in float32; "
            "free some, or lower tokens.max_length"
        ) from None
    if found.rows != "packed":
        print(f"{folder}: {found.said}", file=sys.stderr)
    gaps = {name: gap if math.isfinite(gap) else None for name, gap in found.gaps.items()}
    write_json(path, {**found._asdict(), "gaps": gaps})
    return found


def choose(
    folder: Path, model: PreTrainedModel, ours: Callable[[], dict[str, float]]
) -> tuple[Rows, dict[str, float]]:
    """Find the fastest way to read that agrees with a plain pass.

    Raises:
        InputError: none does.
    """
    said = []
    for rows in get_args(Rows):
        read_as(model, rows)
        try:
            gaps = ours()
        except torch.OutOfMemoryError:
            raise
        except FAILS as error:
            said.append(f"{rows}: {type(error).__name__}: {' '.join(str(error).split())[:100]}")
            continue
        if all(_near(name, gap) for name, gap in gaps.items()):
            return rows, gaps
        said.append(f"{rows}: " + ", ".join(f"{name} off by {g:.2g}" for name, g in gaps.items()))
    raise InputError(
        f"{folder}: {model.config.model_type} is not read as transformers reads it "
        f"({'; '.join(said)}); expected one way that agrees; choose another model"
    )


def _near(name: str, gap: float) -> bool:
    return gap <= (NEAR_GRADIENT if name == "gradient" else NEAR)


def filler(tokenizer: Any, text: str, length: int) -> list[int]:
    """Give so many tokens of running text."""
    once = tokenizer(text, add_special_tokens=False)["input_ids"]
    return [int(once[place % len(once)]) for place in range(max(1, length))]


def gradient_gap(
    model: PreTrainedModel,
    plain: PreTrainedModel,
    ours: Callable[[], Sequence[Tensor]],
    plainly: Callable[[], Sequence[Tensor]],
) -> float:
    """Compare the gradient of a pair's margin, ours as in training, with the plain pass's.

    Args:
        model: as we load it.
        plain: as transformers does.
        ours: gives what is summed of chosen and rejected, and perhaps of others.
        plainly: gives the same by plain passes.
    """
    learn(model)
    try:
        for both in (ours(), plainly()):
            torch.autograd.backward([both[0].sum() - both[1].sum()])
        off = total = 0.0
        for own, right in zip(model.parameters(), plain.parameters(), strict=True):
            if right.grad is not None:
                found = torch.zeros_like(right) if own.grad is None else own.grad
                off += float((found - right.grad).double().square().sum())
                total += float(right.grad.double().square().sum())
        return math.sqrt(off / total) if total else math.inf
    finally:
        model.zero_grad(set_to_none=True)
        plain.zero_grad(set_to_none=True)
        model.eval()
