"""What a reward model's margins are worth: their calibration, and how much length is in them."""

import numpy as np

from mutual_taught.method.arrays import Floats, Ints

BINS = 10  # of confidence, of equal width from one half to one


def calibration_error(margins: Floats) -> float:
    """Give the expected calibration error (ECE) of pairs whose better response is known.

    Under Bradley-Terry a margin m prefers one response with confidence sigmoid(|m|), which is
    between one half and one. Pairs are binned by it; a bin counts by how many pairs it has, with
    the gap between its mean confidence and the share it ranks right. A tie has confidence one half,
    and is wrong.

    Args:
        margins: rewards of the better response less those of the worse one, NaN where one of both
            has no reward, shape (pairs,). Such a pair is left out.

    Returns:
        Between 0 and 1; NaN without any pair.

    Source: Guo et al., 2017 (arXiv 1706.04599), equation 3, with a pair's two outcomes.
    """
    known = margins[~np.isnan(margins)]
    if not known.size:
        return float("nan")
    confidence = 1 / (1 + np.exp(-np.abs(known)))
    place = np.minimum(((confidence - 0.5) * 2 * BINS).astype(int), BINS - 1)
    gaps = np.bincount(place, (known > 0) - confidence, BINS)  # of each bin, summed over its pairs
    return float(np.abs(gaps).sum() / len(known))


def spearman(first: Floats, second: Floats | Ints) -> float:
    """Give Spearman's rank correlation; equal values share the mean of their ranks.

    Args:
        first: numbers, such as rewards, NaN where there is none, shape (responses,).
        second: numbers beside them, such as lengths, same shape.

    Returns:
        Between -1 and 1; NaN where one side is all alike, or nothing is there.
    """
    known = ~np.isnan(first)
    a, b = (ranks(values[known]) for values in (first, np.asarray(second, np.float64)))
    a, b = a - a.mean() if a.size else a, b - b.mean() if b.size else b
    spread = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / spread if spread else float("nan")


def ranks(values: Floats) -> Floats:
    """Rank from 0; equal values have the mean of the ranks that they take together."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = counts.cumsum()
    return np.asarray((ends - (counts + 1) / 2)[place])
