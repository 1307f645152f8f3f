"""How trained weights become those of an export, and what of the update that leaves.

A learning rate such as 7e-7 moves a weight by far less than bfloat16's distance between neighbours
(1/128 to 1/256 of a weight). Rounded to the nearest, most weights stay where they were. Rounded by
lot, up or down with the odds of the distances, each weight is right on average.
"""

import hashlib
import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mutual_taught.config.learning import ExportDtype

Weights: TypeAlias = Mapping[str, Tensor]
UPDATE = ("export_update_kept", "export_update_cosine")
CHUNK = 1 << 22  # weights that are rounded or compared at a time; a multiple of the lots in a word
LOTS = 4  # 16-bit lots in a word of 64 bits


class Rounding(NamedTuple):
    """How weights are exported.

    dtype: of `training.export_dtype`. key: of the lots of `bfloat16_stochastic`, with the weight's
    name and place. start: the weights before training, by name, as `snapshot` gives them; empty
    where nothing is rounded, so that all of an update is kept.
    """

    dtype: ExportDtype
    key: str = ""
    start: Weights = MappingProxyType({})

    @property
    def torch_dtype(self) -> torch.dtype:
        """Give the format of the files."""
        return torch.float32 if self.dtype == "float32" else torch.bfloat16


EXACT = Rounding("float32")


def snapshot(model: nn.Module) -> dict[str, Tensor]:
    """Copy a model's parameters to the host, each in bfloat16 if that is exact, else in float32."""
    found = {}
    for name, value in model.named_parameters():  # tied weights once
        half = value.detach().to("cpu", torch.bfloat16)
        exact = bool((half == value.detach().cpu()).all())
        found[name] = half if exact else value.detach().cpu().clone()
    return found


def averaged(weights: Weights, other: Weights, share: float) -> dict[str, Tensor]:
    """Average two models weight by weight: (1 - share) of one and share of the other.

    Args:
        weights: of the one, by name, float32.
        other: of the other, under the same names.
        share: in [0, 1].

    Returns:
        The averages, where the weights of the one are; what is no number with a point, such as a
        counter, is that of the one.

    Source: ours here; averaging a fine-tuned model with its start is WiSE-FT (arXiv 2109.01903).
    """
    return {
        name: (1 - share) * value + share * other[name].to(value)
        if value.is_floating_point()
        else value
        for name, value in weights.items()
    }


def stored(weights: Weights, rounding: Rounding, tied: Mapping[str, str]) -> dict[str, Tensor]:
    """Round weights to the format they are exported in.

    Args:
        weights: by name, float32.
        rounding: the format; where it draws, the key.
        tied: names of weights that are another one: they stay the same tensor.

    Returns:
        The weights on the host if they were rounded by lot, by the same names.
    """
    made: dict[str, Tensor] = {}
    for name, value in weights.items():
        own = tied.get(name, name)
        if own not in made:
            made[own] = _rounded(weights.get(own, value).detach(), rounding, own)
    return {name: made[tied.get(name, name)] for name in weights}


def _rounded(value: Tensor, rounding: Rounding, name: str) -> Tensor:
    if not value.is_floating_point() or rounding.dtype == "float32":
        return value
    if rounding.dtype == "bfloat16":
        return value.to(torch.bfloat16)
    return by_lot(value, f"{rounding.key}|{name}")


def by_lot(value: Tensor, key: str) -> Tensor:
    """Round to one of the two bfloat16 neighbours, with odds that make the mean exact.

    Of float32's bits, bfloat16 has the upper 16. A lot from [0, 2^16) is added to the lower 16 and
    they are cut off: it carries with the odds (lower bits) / 2^16. What bfloat16 can say stays.

    Args:
        value: float32, any shape.
        key: with the place in `value`, decides the lot: the same bits on every machine.

    Returns:
        bfloat16, on the host.

    Source: the lots are those of Philox (Salmon et al., 2011), which counts instead of keeping a
    state; four to a word, the lowest bits first.
    """
    bits = value.float().cpu().contiguous().view(-1).numpy().view(np.uint32)
    upper = np.empty(len(bits), np.uint16)
    digest = hashlib.blake2b(key.encode(), digest_size=16).digest()
    stream = np.random.Philox(key=int.from_bytes(digest, "big"))
    for first in range(0, len(bits), CHUNK):
        part = bits[first : first + CHUNK]
        drawn = stream.random_raw(-(-len(part) // LOTS)).astype("<u8").view("<u2")
        sums = part + drawn[: len(part)].astype(np.uint32)
        upper[first : first + CHUNK] = sums >> np.uint32(16)
    return torch.from_numpy(upper.view(np.int16)).view(torch.bfloat16).view(value.shape)


def kept(start: Weights, trained: Weights, exported: Weights) -> dict[str, float]:
    """Measure what exporting left of an update, over all weights.

    Args:
        start: before training, by name; what is measured.
        trained: after it, float32.
        exported: the same, rounded.

    Returns:
        With u the trained update (trained - start) and e the exported one (exported - start):
        `export_update_kept` is u·e / u·u, the share of u that is in e; 1 on average for rounding
        by lot, and whatever the noise beside it. `export_update_cosine` is u·e / (|u| |e|), which
        such noise lowers. Their ratio is |e| / |u|. Both are 1 where there is no update.
    """
    both = own = other = 0.0  # u·e, u·u, e·e
    for name, before in start.items():
        for at in range(0, before.numel(), CHUNK):
            first = _numbers(before, at)
            u, e = _numbers(trained[name], at) - first, _numbers(exported[name], at) - first
            both += float((u * e).sum())
            own += float((u * u).sum())
            other += float((e * e).sum())
    if own == 0.0:
        return dict.fromkeys(UPDATE, 1.0)
    cosine = both / math.sqrt(own * other) if other else 0.0
    # Six digits: the last ones may differ between machines, and a manifest must not.
    return dict(zip(UPDATE, (round(both / own, 6), round(cosine, 6)), strict=True))


def _numbers(value: Tensor, first: int) -> NDArray[np.float64]:
    """Give a chunk of a weight on the host; numpy sums it alike whatever the number of threads."""
    part = value.detach().reshape(-1)[first : first + CHUNK]
    numbers: NDArray[np.float64] = part.double().cpu().numpy()
    return numbers
