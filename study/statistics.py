"""Statistics of the study: seeds and prompts resampled together, and Holm's correction."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
DRAWS = 4_000


class Sample(NamedTuple):
    """What one seed gives to a comparison of two shares or means, a number a prompt.

    Attributes:
        sums: sum over a prompt's responses or pairs, shape (prompts,).
        counts: how many these are, shape (prompts,); 0 where a prompt has none.
        other_sums: the same of what is subtracted, shape (prompts,).
        other_counts: likewise; all 0 where nothing is.
    """

    sums: Floats
    counts: Floats
    other_sums: Floats
    other_counts: Floats


class Estimate(NamedTuple):
    """A difference, its 95 % interval, the two-sided p of no difference, how many seeds."""

    mean: float
    low: float
    high: float
    p: float
    seeds: int


def estimate(samples: Sequence[Sample], seed: int = 1) -> Estimate:
    """Give mean(sums / counts) - mean(other_sums / other_counts) with its interval.

    Seeds are drawn with replacement, then the prompts of each drawn seed. Both sides keep the same
    prompts, so the comparison stays paired. The mean is over all responses of all seeds.

    With few seeds such an interval is too narrow: of n seeds by about sqrt((n - 1) / n). With one
    seed it is over prompts only.

    Args:
        samples: one a seed.
        seed: of the resampling.

    Returns:
        NaN where there is nothing to compare; p is 2 min(share <= 0, share >= 0), at most 1.
    """
    kept = [np.stack(sample) for sample in samples if sample.counts.sum() > 0]
    if not kept:
        return Estimate(np.nan, np.nan, np.nan, np.nan, 0)
    rng = np.random.default_rng(seed)
    totals = np.zeros((DRAWS, 4))
    for _ in kept:
        drawn = rng.integers(0, len(kept), DRAWS)
        for place, columns in enumerate(kept):
            rows = np.flatnonzero(drawn == place)
            prompts = rng.integers(0, columns.shape[1], (len(rows), columns.shape[1]))
            totals[rows] += columns[:, prompts].sum(2).T
    draws = _difference(totals)
    draws = draws[np.isfinite(draws)]
    mean = float(_difference(sum(columns.sum(1) for columns in kept)[None])[0])
    low, high = np.percentile(draws, [2.5, 97.5])
    tail = min(int((draws <= 0).sum()), int((draws >= 0).sum())) + 1
    return Estimate(mean, float(low), float(high), min(1.0, 2 * tail / (len(draws) + 1)), len(kept))


def _difference(totals: Floats) -> Floats:
    """Divide sums by counts; nothing is subtracted where there is no other count."""
    with np.errstate(invalid="ignore", divide="ignore"):
        own = totals[:, 0] / totals[:, 1]
        other = np.where(totals[:, 3] > 0, totals[:, 2] / totals[:, 3], 0.0)
    return np.asarray(own - other)


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct p-values for their number, so that any of them is below alpha by chance in alpha.

    The smallest is multiplied by n, the next by n - 1 and so on, none below one before it.

    Args:
        p_values: of n tests; NaN is no test.

    Returns:
        Corrected ones, in the same order, at most 1.

    Source: Holm, 1979, Scandinavian Journal of Statistics 6.
    """
    values = np.asarray(p_values, np.float64)
    found = np.full(len(values), np.nan)
    order = [place for place in np.argsort(values, kind="stable") if np.isfinite(values[place])]
    largest = 0.0
    for rank, place in enumerate(order):
        largest = max(largest, min(1.0, float(values[place]) * (len(order) - rank)))
        found[place] = largest
    return [float(value) for value in found]
