"""The arithmetic of the pictures: densities, groups of like size, bins; on arrays only."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
FINE = 513  # bins from which a density is computed, however many values there are


class Points(NamedTuple):
    """Points of a line, shape (points,) each."""

    x: Floats
    y: Floats


class Groups(NamedTuple):
    """Values in groups by rank: means of both numbers and counts, shape (groups,) each."""

    x: Floats
    y: Floats
    n: NDArray[np.int64]


def bandwidth(values: Floats) -> float:
    """Give Silverman's width of a Gaussian kernel: 0.9 min(sd, IQR / 1.34) n^(-1/5).

    Where half of the values are alike the range between the quartiles is 0, and sd counts.

    Args:
        values: shape (values,), at least one.

    Returns:
        The width in the values' unit; 0 where all are alike.
    """
    low, high = np.percentile(values, [25, 75])
    spreads = [float(values.std()), float(high - low) / 1.34]
    return float(0.9 * min((s for s in spreads if s > 0), default=0.0) * len(values) ** -0.2)


def density(values: Floats, width: float, points: int = 80) -> Points:
    """Smooth values to the density of a Gaussian kernel.

    The values are counted in 513 bins first, so that 240,000 responses take as long as 400.

    Args:
        values: shape (values,).
        width: of the kernel, in the values' unit, > 0.
        points: of the line, over the values' range and three widths on either side.

    Returns:
        Where, and how dense, per unit of the values: the area below is 1.
    """
    low, high = values.min() - 3 * width, values.max() + 3 * width
    counts, edges = np.histogram(values, FINE, (low, high))
    at, centres = np.linspace(low, high, points), (edges[:-1] + edges[1:]) / 2
    kernel = np.exp(-0.5 * ((at[:, None] - centres) / width) ** 2)
    return Points(at, kernel @ counts / (len(values) * width * np.sqrt(2 * np.pi)))


def ranks(x: Floats, groups: int) -> list[NDArray[np.int64]]:
    """Divide values into groups of like size by rank, from the lowest; the first are the larger.

    Values that are alike keep their order, so a group may begin with what ends the one before.

    Returns:
        The places of each group's values, no group empty.
    """
    return [part for part in np.array_split(np.argsort(x, kind="stable"), groups) if len(part)]


def by_rank(x: Floats, y: Floats, groups: int) -> Groups:
    """Give the means of both numbers in groups of like size by the first one's rank."""
    parts = ranks(x, groups)
    return Groups(
        np.array([x[part].mean() for part in parts]),
        np.array([y[part].mean() for part in parts]),
        np.array([len(part) for part in parts]),
    )


def joined(groups: Groups) -> Groups:
    """Make one group of those with the same mean x, such as responses cut at the limit."""
    x, place = np.unique(groups.x, return_inverse=True)
    n = np.bincount(place, groups.n)
    return Groups(x, np.bincount(place, groups.y * groups.n) / n, n.astype(np.int64))


def edges_through(values: Floats, cut: float, bins: int) -> Floats:
    """Give edges of equal bins over all values, one of which is at the cut.

    So each bin lies on one side of the cut.

    Args:
        values: shape (values,), not all alike.
        cut: where an edge is to be.
        bins: about how many; one or two more are needed where the ends do not fall on edges.

    Returns:
        Ascending, shape (bins + 1,) or one or two more.
    """
    step = (values.max() - values.min()) / bins
    first = np.floor((values.min() - cut) / step)
    end = max(np.ceil((values.max() - cut) / step), first + 1)
    return np.asarray(cut + step * np.arange(first, end + 1))


def thinned(values: Floats, points: int) -> Floats:
    """Average neighbours so that at most so many points are left; NaN counts as none.

    Args:
        values: shape (steps,).
        points: at most so many.

    Returns:
        Means of runs of ceil(steps / points) neighbours, the last run may be shorter.
    """
    run = -(-len(values) // points) if len(values) else 1
    starts = range(0, len(values), run)
    parts = [values[start : start + run] for start in starts]
    known = [part[~np.isnan(part)] for part in parts]
    return np.array([part.mean() if len(part) else np.nan for part in known], np.float64)
