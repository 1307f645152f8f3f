"""Intervals of numbers that are made of means: prompts are resampled within each part."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mutual_taught.evaluation.benchmarks.base import Metrics
from mutual_taught.method.statistics import BLOCK, DRAWS, Floats


class Mean(NamedTuple):
    """A mean of `n` units, and what it was each time prompts were resampled, shape (draws,)."""

    value: float
    draws: Floats
    n: int


def mean(
    values: Sequence[float] | Floats, groups: NDArray[np.int64], name: str, draws: int = DRAWS
) -> Mean:
    """Take the mean of some units and resample their prompts, all units of one together.

    Args:
        values: one number a unit, shape (units,).
        groups: the prompt of each unit, shape (units,).
        name: of the part. The draws follow from it, so other parts move on their own.
        draws: how often prompts are resampled.

    Returns:
        NaN where there is no unit.
    """
    values = np.asarray(values, np.float64)
    if not values.size:
        return Mean(float("nan"), np.full(draws, np.nan), 0)
    index = np.unique(groups, return_inverse=True)[1]
    sums, counts = np.bincount(index, values), np.bincount(index)
    rng = np.random.default_rng(list(name.encode()) or 0)
    means = np.empty(draws)
    block = max(1, BLOCK // len(sums))
    for start in range(0, draws, block):
        drawn = rng.integers(0, len(sums), (min(block, draws - start), len(sums)))
        means[start : start + len(drawn)] = sums[drawn].sum(1) / counts[drawn].sum(1)
    return Mean(float(values.mean()), means, len(values))


def mix(parts: Iterable[tuple[Mean, float]]) -> Mean:
    """Take the weighted mean of means that were resampled apart.

    Args:
        parts: means with their weights, such as the subsets of a section with their sizes.

    Returns:
        sum of weight x mean over the sum of weights; NaN where a part is, or there is none.
    """
    listed = list(parts)
    total = sum(weight for _, weight in listed)
    if not total:
        return Mean(float("nan"), np.full(DRAWS, np.nan), 0)
    value = sum(part.value * weight for part, weight in listed) / total
    draws = np.sum([part.draws * weight for part, weight in listed], axis=0) / total
    return Mean(value, draws, sum(part.n for part, _ in listed))


def interval(name: str, part: Mean) -> Metrics:
    """Name a mean, its 95 % percentile interval and its units; None where there is no mean."""
    keys = [f"{name}.{key}" for key in ("mean", "ci_lo", "ci_hi", "n")]
    if np.isnan(part.value):
        return {**dict.fromkeys(keys[:3]), keys[3]: float(part.n)}
    low, high = np.percentile(part.draws, [2.5, 97.5])
    return dict(zip(keys, (part.value, float(low), float(high), float(part.n)), strict=True))
