"""Numbers that a benchmark makes of means, each beside what a scorer of length would get."""

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from mutual_taught.evaluation.benchmarks.base import Item, Items, Metrics, Scores
from mutual_taught.evaluation.benchmarks.pairs import lengths_as_scores, measured, number
from mutual_taught.evaluation.benchmarks.resampling import Mean, interval, mean, mix
from mutual_taught.method.statistics import Floats

Composites = Callable[[Items, Scores], Mapping[str, Mean]]


def report(
    items: Items,
    scores: Scores,
    composites: Composites,
    paired: Callable[[Item], bool] = lambda item: True,
) -> Metrics:
    """Put together what is said of a reward model on a benchmark.

    Args:
        items: of the benchmark.
        scores: a reward of each response; None where the model cannot read it.
        composites: makes the benchmark's own numbers.
        paired: which items' comparisons are described as pairs.

    Returns:
        What `pairs.describe` says of the comparisons; of each composite `<name>.mean`, `.ci_lo`,
        `.ci_hi`, `.n` and `.length_scorer`, what lengths in characters would give in its place.
    """
    places = [place for place, item in enumerate(items) if paired(item)]
    found = measured([items[place] for place in places], [scores[place] for place in places])
    for name, part in composites(items, scores).items():
        found |= interval(name, part)
    for name, part in composites(items, lengths_as_scores(items)).items():
        found[f"{name}.length_scorer"] = number(part.value)
    return found


def parts(names: Sequence[str], values: Floats, groups: NDArray[np.int64]) -> dict[str, Mean]:
    """Take the mean of each part of a benchmark apart.

    Args:
        names: the part of each unit.
        values: one number a unit, shape (units,).
        groups: the prompt of each unit, shape (units,).
    """
    labels = np.array(names, str)
    return {
        name: mean(values[labels == name], groups[labels == name], name)
        for name in sorted(set(names))
    }


def plain(of: Mapping[str, Mean], names: Iterable[str]) -> Mean:
    """Take the plain mean of parts; NaN where one is missing, because a part is no whole."""
    return mix((of.get(name, NOTHING), 1.0) for name in names)


NOTHING = mean([], np.empty(0, np.int64), "")
