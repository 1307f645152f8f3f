"""Statistics of the evaluation: bootstrap over prompts, win rates, reward-model accuracy."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
DRAWS = 10_000
RARE = 0.05  # a p below which chance alone seldom makes such a difference
BLOCK = 250_000  # numbers drawn at once: they stay in the cache


class Interval(NamedTuple):
    """A mean and its 95 % interval; `n` counts what was resampled (prompts)."""

    mean: float
    ci_lo: float
    ci_hi: float
    n: int


def bootstrap(values: Floats, seed: int, groups: NDArray[np.int64] | None = None) -> Interval:
    """Give the mean and its 95 % percentile-bootstrap interval, resampling whole groups.

    Args:
        values: one number a unit, shape (units,).
        seed: seed of the resampling.
        groups: the prompt each unit belongs to, shape (units,); all units of a prompt are drawn
            together. None: every unit is a prompt of its own.

    Returns:
        Mean over units, interval, and the number of groups; NaN where there is no unit.
    """
    if values.size == 0:
        return Interval(float("nan"), float("nan"), float("nan"), 0)
    index = None if groups is None else np.unique(groups, return_inverse=True)[1]
    sums = values if index is None else np.bincount(index, values)
    counts = None if index is None else np.bincount(index)
    rng = np.random.default_rng(seed)
    size = len(sums)
    means = np.empty(DRAWS)
    block = max(1, BLOCK // size)
    for start in range(0, DRAWS, block):
        drawn = rng.integers(0, size, (min(block, DRAWS - start), size))
        units = size if counts is None else counts[drawn].sum(1)
        means[start : start + len(drawn)] = sums[drawn].sum(1) / units
    low, high = np.percentile(means, [2.5, 97.5])
    return Interval(float(values.mean()), float(low), float(high), size)


def sign_flip_p(differences: Floats, seed: int) -> float:
    """Give the two-sided p of a mean paired difference under random sign flips.

    Args:
        differences: one paired difference a prompt, shape (prompts,).
        seed: seed of the flips.

    Returns:
        (hits + 1) / (draws + 1), in (0, 1]; 1.0 without data.
    """
    if differences.size == 0:
        return 1.0
    rng = np.random.default_rng(seed)
    observed, hits, block = abs(differences.mean()), 0, max(1, BLOCK // differences.size)
    for start in range(0, DRAWS, block):
        signs = rng.choice((-1.0, 1.0), (min(block, DRAWS - start), differences.size))
        hits += int((abs((signs * differences).mean(1)) >= observed - 1e-12).sum())
    return (hits + 1) / (DRAWS + 1)


class PairAccuracy(NamedTuple):
    """How a reward model ranks pairs whose better side is known."""

    accuracy: Interval
    ties: int
    unscored: int
    log_loss: float
    margin: float


def pair_accuracy(
    chosen: Floats, rejected: Floats, seed: int, groups: NDArray[np.int64] | None = None
) -> PairAccuracy:
    """Score a reward model on pairs: strict accuracy (a tie is an error), log-loss, mean margin.

    Right needs a reward on both sides: a pair of which one has none is an error, counted as
    `unscored`, and is in neither log-loss nor margin.

    Args:
        chosen: rewards of the better responses, NaN where there is none, shape (pairs,).
        rejected: rewards of the worse responses, likewise, shape (pairs,).
        seed: seed of the bootstrap.
        groups: the prompt of each pair, shape (pairs,), resampled together.

    Returns:
        NaN for what is over no pair.
    """
    margin = chosen - rejected
    accuracy = bootstrap(ranked_right(chosen, rejected), seed, groups)
    known = margin[~np.isnan(margin)]
    unscored = len(margin) - len(known)
    if known.size == 0:
        return PairAccuracy(accuracy, 0, unscored, float("nan"), float("nan"))
    loss = np.logaddexp(0.0, -known).mean()
    return PairAccuracy(
        accuracy, int((known == 0).sum()), unscored, float(loss), float(known.mean())
    )


def ranked_right(chosen: Floats, rejected: Floats) -> Floats:
    """Tell which pairs are ranked right, as 1 or 0: both have a reward, chosen the higher one."""
    return (chosen > rejected).astype(np.float64)
