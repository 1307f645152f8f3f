"""What a training leaves: a model's weights, settings, tokenizer and manifest in a folder."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoModelForSequenceClassification,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from mutual_taught.artifacts.files import Json
from mutual_taught.artifacts.manifests import MANIFEST, Manifest, read_manifest, write_manifest
from mutual_taught.errors import InputError, TrainingError
from mutual_taught.models.folders import load_whole
from mutual_taught.training.rounding import UPDATE, Rounding, Weights, averaged, kept, stored


def save_model(
    model: PreTrainedModel,
    weights: Weights,
    tokenizer: PreTrainedTokenizerBase,
    folder: Path,
    rounding: Rounding,
    said: Json,
) -> Manifest:
    """Save weights (safetensors), config, tokenizer and manifest; nothing of the optimiser.

    Args:
        model: whose configuration, and adapters if any, are saved.
        weights: whole, by their names in the model; adapters are merged into the others, and kept
            beside them.
        tokenizer: saved beside them.
        folder: where to.
        rounding: the format of the saved weights, and what they were before training.
        said: the manifest's `kind`, `base`, `parent` and `made_by`, to which is added what was kept
            of the update.

    Raises:
        TrainingError: a weight is not finite.
    """
    if any(".lora_" in name for name in weights):
        from mutual_taught.training import lora  # peft takes a second to import

        lora.save_adapter(model, weights, folder)
        weights = lora.merged(model, weights)
    state = stored(weights, rounding, model.all_tied_weights_keys)
    for name, value in state.items():
        if not torch.isfinite(value).all():
            raise TrainingError(f"{folder}: weight {name} is not finite; lower the learning rate")
    before = model.config.dtype
    model.config.dtype = rounding.torch_dtype
    model.save_pretrained(folder, state_dict=state)
    model.config.dtype = before
    tokenizer.save_pretrained(folder)
    made_by = {**said["made_by"], **kept(rounding.start, weights, state)}
    return write_manifest(folder, **{**said, "made_by": made_by})


def with_base(model: PreTrainedModel, weights: Weights, base: Path, share: float) -> Weights:
    """Average trained weights, adapters merged into them, with those of the model r_0."""
    if hasattr(model, "peft_config"):
        from mutual_taught.training import lora

        weights = lora.merged(model, weights)
    other: Any = load_whole(AutoModelForSequenceClassification, base, dtype=torch.float32)
    return averaged(weights, other.state_dict(), share)


def update_metrics(folders: Sequence[Path]) -> dict[str, float]:
    """Say what exporting left of the updates: of the last model, and the least of all.

    Args:
        folders: of the exported models, in the order of their steps; at least one.

    Raises:
        InputError: a model's manifest does not say it.
    """
    made = [_update(folder) for folder in folders]
    least = {f"{name}_min": min(one[name] for one in made) for name in UPDATE}
    return {**made[-1], **least} if len(made) > 1 else made[-1]


def _update(folder: Path) -> dict[str, float]:
    made_by = read_manifest(folder).made_by
    found: dict[str, Any] = {name: made_by.get(name) for name in UPDATE}
    if not all(isinstance(value, float) for value in found.values()):
        raise InputError(
            f"{folder / MANIFEST}: made_by says {found}; expected two numbers; run dvc repro"
        )
    return found
