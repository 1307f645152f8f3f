"""Statistics of the study: Student's t over seeds, and Holm's correction."""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import mpmath
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
DRAWS = 4_000  # of prompts, where there is one seed


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

    def first(self) -> "Sample":
        """Give the one side, with nothing subtracted."""
        return self._replace(other_sums=0 * self.sums, other_counts=0 * self.counts)

    def second(self) -> "Sample":
        """Give what is subtracted, by itself."""
        return Sample(self.other_sums, self.other_counts, self.sums, self.counts).first()


def single(value: float) -> Sample:
    """Make the sample of a seed of which one number is known, such as a metric; NaN is none."""
    known = float(np.isfinite(value))
    return Sample(*(np.array([each]) for each in (value if known else 0.0, known, 0.0, 0.0)))


class Estimate(NamedTuple):
    """A difference, its bounds, the two-sided p of no difference, and that of each seed.

    Attributes:
        mean: over seeds, each counting alike.
        low: with three seeds or more, the lower end of Student's 95 % interval over them; with two,
            the lower of both; with one, the lower end of an interval over its prompts.
        high: likewise.
        p: of Student's t over the seeds; NaN with fewer than three.
        each: the difference of every seed.
    """

    mean: float
    low: float
    high: float
    p: float
    each: tuple[float, ...]

    @property
    def seeds(self) -> int:
        """Count the seeds."""
        return len(self.each)


NOTHING = Estimate(np.nan, np.nan, np.nan, np.nan, ())


def estimate(samples: Sequence[Sample]) -> Estimate:
    """Give mean(sums / counts) - mean(other_sums / other_counts) with its bounds.

    A seed's difference is one observation: its prompts and its draws are its own, so its spread
    over seeds holds theirs. An interval that resamples three or five seeds would be too narrow.

    Args:
        samples: one a seed.

    Returns:
        NaN where there is nothing to compare.
    """
    kept = [np.stack(sample) for sample in samples if sample.counts.sum() > 0]
    each = tuple(difference(Sample(*columns)) for columns in kept)
    if not each:
        return NOTHING
    mean = float(np.mean(each))
    if len(each) == 1:
        return Estimate(mean, *_over_prompts(kept[0]), np.nan, each)
    if len(each) == 2:
        return Estimate(mean, min(each), max(each), np.nan, each)
    error = float(np.std(each, ddof=1)) / len(each) ** 0.5
    half = quantile(len(each) - 1) * error
    return Estimate(mean, mean - half, mean + half, two_sided(mean, error, len(each) - 1), each)


def difference(sample: Sample) -> float:
    """Give mean(sums / counts) - mean(other_sums / other_counts) of one seed; NaN of nothing."""
    return float(_difference(np.stack(sample).sum(1)[None])[0])


def _over_prompts(columns: Floats) -> tuple[float, float]:
    """Give a 95 % interval of one seed's difference; both sides keep the same prompts."""
    drawn = np.random.default_rng(1).integers(0, columns.shape[1], (DRAWS, columns.shape[1]))
    draws = _difference(columns[:, drawn].sum(2).T)
    low, high = np.percentile(draws[np.isfinite(draws)], [2.5, 97.5])
    return float(low), float(high)


def _difference(totals: Floats) -> Floats:
    """Divide sums by counts; nothing is subtracted where there is no other count."""
    with np.errstate(invalid="ignore", divide="ignore"):
        own = totals[:, 0] / totals[:, 1]
        other = np.where(totals[:, 3] > 0, totals[:, 2] / totals[:, 3], 0.0)
    return np.asarray(own - other)


def two_sided(mean: float, error: float, freedom: int) -> float:
    """Give the p of Student's t for a mean and its standard error.

    Args:
        mean: what is tested against 0.
        error: its standard error; 0 is a mean without spread.
        freedom: degrees of it, at least 1.
    """
    if error == 0.0:
        return float(mean == 0.0)
    inside = freedom / (freedom + (mean / error) ** 2)
    return float(mpmath.betainc(freedom / 2, 0.5, 0, inside, regularized=True))


@functools.cache
def quantile(freedom: int) -> float:
    """Give the t that 5 % lie beyond, on both sides together."""
    return float(
        mpmath.findroot(lambda t: two_sided(t, 1.0, freedom) - 0.05, (1.9, 13.0), solver="anderson")
    )


def holm(p_values: Sequence[float], tests: int = 0) -> list[float]:
    """Correct p-values for their number, so that any of them is below alpha by chance in alpha.

    The smallest is multiplied by n, the next by n - 1 and so on, none below one before it.

    Args:
        p_values: of the tests that were made; NaN is none.
        tests: n, where more are to be made; those that wait count as if their p were 1.

    Returns:
        Corrected ones, in the same order, at most 1.

    Source: Holm, 1979, Scandinavian Journal of Statistics 6.
    """
    values = np.asarray(p_values, np.float64)
    found = np.full(len(values), np.nan)
    order = [place for place in np.argsort(values, kind="stable") if np.isfinite(values[place])]
    largest, tests = 0.0, max(tests, len(order))
    for rank, place in enumerate(order):
        largest = max(largest, min(1.0, float(values[place]) * (tests - rank)))
        found[place] = largest
    return [float(value) for value in found]
