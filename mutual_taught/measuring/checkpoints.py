"""A folder with a model: what it is, by its config.json alone, before torch is imported."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from mutual_taught.artifacts.files import read_json
from mutual_taught.errors import InputError, MissingFileError
from mutual_taught.evaluation.benchmarks import Kind
from mutual_taught.terminal.signs import excerpt

SPELT: Mapping[Kind, str] = {"policy": "policy", "reward_model": "reward model"}
NEEDED: Mapping[Kind, str] = {
    "policy": "a causal language model (...ForCausalLM)",
    "reward_model": "a sequence classifier with one label (...ForSequenceClassification)",
}
POLICIES = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")
CLASSIFIER = "ForSequenceClassification"
LABELS = 2  # that transformers takes where config.json names none


class Checkpoint(NamedTuple):
    """A model's folder, what it can be, and its name for people."""

    folder: Path
    kind: Kind

    @property
    def called(self) -> str:
        """Name it by the last two parts of its path: `2-policy` of `run/2/policy`."""
        return "-".join(part for part in self.folder.absolute().parts[-2:] if part != "/")


def find(folder: Path) -> Checkpoint:
    """Tell a policy from a reward model by the class that config.json names.

    Raises:
        MissingFileError: there is no folder, or no config.json in it.
        InputError: it is neither; or a classifier with several labels.
    """
    if not (folder / "config.json").is_file():
        what = "holds no model (no config.json)" if folder.is_dir() else "does not exist"
        raise MissingFileError(
            f"{folder} {what}; expected the folder of a model: config.json, a tokenizer, "
            "*.safetensors"
        )
    config = read_json(folder / "config.json")
    named = config.get("architectures")
    name = str(named[0]) if isinstance(named, list) and named else ""
    if name.endswith(POLICIES):
        return Checkpoint(folder, "policy")
    if not name.endswith(CLASSIFIER):
        raise InputError(
            f"{folder / 'config.json'}: architectures is {excerpt(named)}; expected "
            f"{NEEDED['policy']}, or {NEEDED['reward_model']}"
        )
    if (labels := _labels(config)) != 1:
        raise InputError(
            f"{folder}: a classifier with {labels} labels; expected a reward model with one; name "
            "another"
        )
    return Checkpoint(folder, "reward_model")


def _labels(config: Mapping[str, Any]) -> int:
    """Count labels as transformers does: `num_labels` is written as the list of their names."""
    names = config.get("id2label")
    if isinstance(names, dict):
        return len(names)
    count = config.get("num_labels", LABELS)
    return count if isinstance(count, int) else LABELS


def require(checkpoint: Checkpoint, kind: Kind, what: str) -> None:
    """Refuse a policy where a reward model is due, and the other way round.

    Args:
        checkpoint: what there is.
        kind: what is due.
        what: needs it, for messages.

    Raises:
        InputError: it is the other kind.
    """
    if checkpoint.kind != kind:
        raise InputError(
            f"{checkpoint.folder}: config.json names a {SPELT[checkpoint.kind]}; {what} needs a "
            f"{SPELT[kind]}; expected {NEEDED[kind]}; name another folder"
        )
