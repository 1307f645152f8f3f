"""What a training leaves: a model's weights, settings, tokenizer and manifest in a folder."""

from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from mutual_taught.artifacts.files import Json
from mutual_taught.artifacts.manifests import Manifest, write_manifest
from mutual_taught.errors import TrainingError
from mutual_taught.models.load import DTYPES

Weights: TypeAlias = Mapping[str, Tensor]


def save_model(
    model: PreTrainedModel,
    weights: Weights,
    tokenizer: PreTrainedTokenizerBase,
    folder: Path,
    dtype: str,
    said: Json,
) -> Manifest:
    """Save weights (safetensors), config, tokenizer and manifest; nothing of the optimiser.

    Args:
        model: whose configuration, and adapters if any, are saved.
        weights: whole, by their names in the model; adapters are merged into the others.
        tokenizer: saved beside them.
        folder: where to.
        dtype: of the saved weights.
        said: the manifest's `kind`, `base`, `parent` and `made_by`.

    Raises:
        TrainingError: a weight is not finite.
    """
    if hasattr(model, "peft_config"):
        from mutual_taught.training import lora  # peft takes a second to import

        lora.save_adapter(model, weights, folder)
        weights = lora.merged(model, weights)
    state = {name: value.detach().to(DTYPES[dtype]) for name, value in weights.items()}
    for name, value in state.items():
        if not torch.isfinite(value).all():
            raise TrainingError(f"{folder}: weight {name} is not finite; lower the learning rate")
    before = model.config.dtype
    model.config.dtype = DTYPES[dtype]
    model.save_pretrained(folder, state_dict=state)
    model.config.dtype = before
    tokenizer.save_pretrained(folder)
    return write_manifest(folder, **said)
