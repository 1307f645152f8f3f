"""A plain pass of transformers: eager attention, float32, one sequence at a time."""

import copy
import json
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedModel

from mutual_taught.errors import InputError
from mutual_taught.models.load import device, load
from mutual_taught.models.packed.attention import LayoutLostError
from mutual_taught.models.packed.rows import Group

LARGE = 10**9  # parameters; of larger models one decoder layer of each kind is looked at
# What a model raises that does not do what is asked of it: its code is of any kind.
FAILS = (
    LayoutLostError,
    RuntimeError,
    ValueError,
    TypeError,
    AttributeError,
    KeyError,
    IndexError,
)


@contextmanager
def plainly(folder: Path) -> Iterator[None]:
    """Run a plain pass; one that fails is no fault of ours.

    Raises:
        InputError: it does.
    """
    try:
        with torch.inference_mode():
            yield
    except torch.OutOfMemoryError:
        raise
    except FAILS as error:
        raise InputError(
            f"{folder}: transformers' own forward pass fails ({type(error).__name__}: "
            f"{' '.join(str(error).split())[:120]}); expected a model that it runs; mend "
            "config.json, or choose another"
        ) from None


def plain_logps(model: PreTrainedModel, group: Group) -> list[Tensor]:
    """Give the log-probs of a group's branches by a plain pass, one sequence at a time."""
    found, start = [], len(group.prefix)
    for branch in group.branches:
        ids = torch.tensor([[*group.prefix, *branch]], device=device())
        logits = model(input_ids=ids, use_cache=False).logits[0, start - 1 : -1].float()
        found.append(logits.log_softmax(-1).gather(1, ids[0, start:, None]).squeeze(1))
    return found


def load_both(
    folder: Path, auto: Any, config: PretrainedConfig
) -> tuple[PreTrainedModel, PreTrainedModel]:
    """Load a model as we do and as transformers does; of a large one, a layer of each kind."""
    if size(folder) > LARGE:
        config = cut(config, auto)
    torch.manual_seed(0)  # of a new head
    own, plain = (load(auto, folder, copy.deepcopy(config), packed) for packed in (True, False))
    return own, plain


def size(folder: Path) -> int:
    """Count a model's parameters by the headers of its files."""
    total = 0
    for path in folder.glob("*.safetensors"):
        with safe_open(path, "pt") as file:
            total += sum(math.prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118
    return total


def cut(config: PretrainedConfig, auto: Any) -> PretrainedConfig:
    """Give a model's settings with one decoder layer of each kind.

    Kinds differ in the classes they are made of or in how they attend (sliding, full, dense,
    experts). Where the settings do not allow to pick layers, the first are kept until every kind
    is among them.

    Args:
        config: of the whole model.
        auto: the class of transformers that makes it.
    """
    kinds = _kinds(config, auto)
    first = sorted(kinds.index(kind) for kind in dict.fromkeys(kinds))
    picked = _picked(config, first)
    if _kinds(picked, auto) == [kinds[place] for place in first]:
        return picked
    return _picked(config, list(range(first[-1] + 1)))


def _picked(config: PretrainedConfig, places: Sequence[int]) -> PretrainedConfig:
    """Keep only the settings of some layers."""
    config = copy.deepcopy(config)
    text = config.get_text_config()
    depth = text.num_hidden_layers
    for name, value in vars(text).items():
        if isinstance(value, list) and len(value) == depth:
            setattr(text, name, [value[place] for place in places])
    text.num_hidden_layers = len(places)
    return config


def _kinds(config: PretrainedConfig, auto: Any) -> list[str]:
    """Describe every decoder layer: what it is made of and how it attends."""
    with torch.device("meta"):
        model = auto.from_config(config, trust_remote_code=False)
    text = config.get_text_config()
    layers = max(
        (part for part in model.modules() if isinstance(part, nn.ModuleList)),
        key=lambda part: (len(part) == text.num_hidden_layers, sum(1 for _ in part.parameters())),
    )
    types = getattr(text, "layer_types", None) or [""] * len(layers)
    return [
        json.dumps([kind, [(name, type(part).__name__) for name, part in layer.named_modules()]])
        for kind, layer in zip(types, layers, strict=False)
    ]
