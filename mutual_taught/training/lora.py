"""Low-rank adapters (LoRA): trained in place of the weights, and merged into them at export."""

from collections.abc import Mapping
from pathlib import Path

import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import Linear
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from mutual_taught.config.learning import Lora
from mutual_taught.errors import InputError

NAME = "default"
ADAPTER = "adapter"


def adapt(model: PreTrainedModel, settings: Lora, seed: int) -> None:
    """Put adapters on a model, in place; only they learn, and a reward model's head.

    `all-linear` are all linear layers but the output's. The router and the experts of a mixture of
    experts are no linear layers in transformers and get no adapters, whatever the names: an adapter
    of a router would have to be merged into a choice, not into a product.

    Args:
        model: a policy or a reward model, weights in float32.
        settings: rank, alpha, which layers.
        seed: of the adapters' first weights.

    Raises:
        InputError: the model has no such layers.

    Source: LoRA (arXiv 2106.09685), section 4.1.
    """
    torch.manual_seed(seed)
    head = getattr(model, "score", None)
    targets = settings.targets
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        fan_in_fan_out=any(isinstance(part, Conv1D) for part in model.modules()),
        target_modules=_linear(model) if targets == "all-linear" else targets,
        task_type="CAUSAL_LM" if head is None else "SEQ_CLS",
    )
    try:
        inject_adapter_in_model(config, model, NAME)
    except ValueError as error:
        said = str(error).split("\n", 1)[0][:160]
        raise InputError(
            f"training.lora.targets is {settings.targets}; expected all-linear or names of the "
            f"model's linear layers ({said})"
        ) from None
    for name, part in model.named_modules():
        if isinstance(part, BaseTunerLayer) and not isinstance(part, Linear):
            raise InputError(
                f"training.lora.targets is {targets}; {name} is no linear layer, and its adapter "
                "could not be merged; expected all-linear or names of linear layers"
            )
    for parameter in head.parameters() if head is not None else ():
        parameter.requires_grad_(True)


def _linear(model: PreTrainedModel) -> list[str]:
    """Name a model's linear layers, without the one that gives logits or rewards."""
    outputs = (model.get_output_embeddings(), getattr(model, "score", None))
    return [
        name
        for name, part in model.named_modules()
        if isinstance(part, (nn.Linear, Conv1D)) and not any(part is last for last in outputs)
    ]


def merged(model: nn.Module, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give a model's weights, adapters added, by the names they have without adapters.

    The model itself stays as it is, and may be in shards: adding and taking off again would round
    its weights.
    """
    adapted = {name: part for name, part in model.named_modules() if isinstance(part, Linear)}
    state: dict[str, Tensor] = {}
    for name, value in weights.items():
        if ".lora_" in name:
            continue
        owner = name.partition(".base_layer.")[0]
        if name.endswith(".base_layer.weight"):
            down, up = (weights[f"{owner}.lora_{side}.{NAME}.weight"] for side in "AB")
            change = (up @ down) * adapted[owner].scaling[NAME]
            value = value + (change.T if adapted[owner].fan_in_fan_out else change)
        state[name.replace(".base_layer.", ".")] = value
    return state


def save_adapter(model: PreTrainedModel, weights: Mapping[str, Tensor], folder: Path) -> None:
    """Write only the adapters to `folder/adapter`, by the names peft's own files have."""
    place = folder / ADAPTER
    place.mkdir(parents=True, exist_ok=True)
    model.peft_config[NAME].save_pretrained(place)
    own = {
        "base_model.model." + name.replace(f".{NAME}.", "."): value.detach().contiguous()
        for name, value in weights.items()
        if ".lora_" in name
    }
    save_file(own, place / "adapter_model.safetensors", metadata={"format": "pt"})
