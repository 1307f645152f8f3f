"""Outcomes of units, as samples that statistics compare: gold, agreement, labels."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from study.results import Result
from study.statistics import Sample, difference

Bools = NDArray[np.bool_]
Values = dict[str, tuple[float, int]]  # mean and how many it is over, by prompt
# Margins of D_M in units of epsilon, as the filter sees them.
EDGES = (-np.inf, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0, np.inf)


class Numbers:
    """The rows of a unit, by (t, measure, subset)."""

    def __init__(self, result: Result) -> None:
        self.unit, self.about = result.unit, result.about
        self._by: dict[tuple[int, str, str], Values] = {}
        columns = [result.rows[name].to_pylist() for name in result.rows.column_names]
        for t, measure, subset, prompt, value, n in zip(*columns, strict=True):
            self._by.setdefault((t, measure, subset), {})[prompt] = (value, n)

    def same_policies(self, other: "Numbers") -> bool:
        """Tell whether the policies of every iteration answered alike, by gold and by length."""
        return self.last == other.last and all(
            self.prompts(t, measure) == other.prompts(t, measure)
            for t in range(self.last + 1)
            for measure in ("gold", "length")
        )

    @property
    def last(self) -> int:
        """Give the last iteration: a run that stopped before carries its models on to it."""
        return max(t for t, _, _ in self._by)

    def prompts(self, t: int, measure: str, subset: str = "") -> Values:
        """Give a measure of every prompt."""
        return self._by.get((t, measure, subset), {})

    def number(self, t: int, measure: str) -> float:
        """Give a number of the run; NaN if it has none."""
        return self.prompts(t, measure).get("", (float("nan"), 0))[0]

    def average(self, t: int, measure: str) -> float:
        """Give the mean of a measure over all responses or pairs; NaN if there is none."""
        known = self.prompts(t, measure).values()
        total = sum(n for _, n in known)
        return sum(value * n for value, n in known) / total if total else float("nan")

    def subsets(self, measure: str) -> list[str]:
        """List the instructions that a measure is known of."""
        return sorted({subset for _, name, subset in self._by if name == measure and subset})

    def active(self) -> int:
        """Count the iterations that went on."""
        return sum(self.number(t, "eval.active") == 1.0 for t in range(1, self.last + 1))


def paired(own: Values, other: Values) -> Sample:
    """Lay two measures out side by side, prompt by prompt."""
    prompts = sorted({*own, *other})
    table = [[*own.get(prompt, (0.0, 0)), *other.get(prompt, (0.0, 0))] for prompt in prompts]
    value, count, other_value, other_count = np.array(table, np.float64).reshape(-1, 4).T
    return Sample(value * count, count, other_value * other_count, other_count)


def alone(own: Values) -> Sample:
    """Lay one measure out, with nothing to subtract."""
    return paired(own, {})


def joined(samples: Sequence[Sample]) -> Sample:
    """Put samples of one seed together: a prompt of several units stands there several times."""
    return Sample(*(np.concatenate(columns) for columns in zip(*samples, strict=True)))


def change(numbers: Numbers, measure: str, subset: str = "", t: int | None = None) -> Sample:
    """Compare the final policy with pi_0 on the same prompts, or pi_t with pi_{t-1}."""
    own, other = (numbers.last, 0) if t is None else (t, t - 1)
    return paired(numbers.prompts(own, measure, subset), numbers.prompts(other, measure, subset))


def agreement(numbers: Numbers, pairs: str, t: int | None = None, only: str = "") -> Sample:
    """Compare how often r_t and r_0 rank the same pairs as gold does.

    Args:
        numbers: of a unit.
        pairs: `own_samples` or `gold_pairs`.
        t: iteration; None for the last.
        only: an instruction, to take the prompts whose answers differ in it alone; "" for all.
    """
    t = numbers.last if t is None else t
    own, base = (numbers.prompts(t, f"{pairs}.{name}") for name in ("rt", "r0"))
    if only:
        wanted = _differ_in(numbers, t, only)
        own, base = ({k: v for k, v in each.items() if k in wanted} for each in (own, base))
    return paired(own, base)


def _differ_in(numbers: Numbers, t: int, name: str) -> set[str]:
    """Give the prompts of which some answers follow an instruction, and others not, of it alone."""
    found: dict[str, list[str]] = {}
    for subset in numbers.subsets("follows"):
        for prompt, (share, _) in numbers.prompts(t, "follows", subset).items():
            if 0.0 < share < 1.0:
                found.setdefault(prompt, []).append(subset)
    return {prompt for prompt, names in found.items() if names == [name]}


def gain(numbers: Numbers, pairs: str) -> Values:
    """Give r_t's agreement minus r_0's of every prompt, of the last iteration."""
    own, base = (numbers.prompts(numbers.last, f"{pairs}.{name}") for name in ("rt", "r0"))
    return {name: (own[name][0] - base[name][0], own[name][1]) for name in own if name in base}


class Labels(NamedTuple):
    """Pairs of D_M whose gold differs.

    Attributes:
        label: whether the label "pi_t's response is better" is right by gold, shape (pairs,).
        reward: whether the sign of r_{t-1}'s margin is right, shape (pairs,); 0 is wrong.
        margin: the margin in units of epsilon, shape (pairs,); NaN if epsilon is 0.
        kept: whether the filter kept the pair, shape (pairs,).
        ties: how many pairs were left out, because both responses have the same gold.
    """

    label: Bools
    reward: Bools
    margin: NDArray[np.float64]
    kept: Bools
    ties: int


def labels(numbers: Numbers, t: int, subset: str = "") -> Labels:
    """Judge the M-step's labels of an iteration by gold.

    Args:
        numbers: of a unit.
        t: iteration.
        subset: an instruction, to judge only by whether that one is followed.
    """
    own, previous = (numbers.prompts(t, name, subset) for name in ("dm.gold", "dm.gold_previous"))
    margins, kept = numbers.prompts(t, "dm.margin"), numbers.prompts(t, "dm.kept")
    scaled = numbers.prompts(t, "dm.margin_in_epsilon")
    known = [name for name in sorted(own) if name in previous and name in margins]
    differ = [name for name in known if own[name][0] != previous[name][0]]
    better = np.array([own[name][0] > previous[name][0] for name in differ], bool)
    margin = np.array([margins[name][0] for name in differ], np.float64)
    return Labels(
        better,
        np.where(better, margin > 0, margin < 0).astype(bool),
        np.array([scaled.get(name, (np.nan, 0))[0] for name in differ], np.float64),
        np.array([kept[name][0] == 1.0 for name in differ], bool),
        len(known) - len(differ),
    )


def trained(numbers: Numbers, t: int) -> bool:
    """Tell whether the iteration went on, and r_t learnt in it."""
    return numbers.number(t, "eval.active") == 1.0 and numbers.number(t, "train_rm.steps") > 0


def own_label(numbers: Numbers, t: int) -> bool:
    """Tell whether r_t's pairs say "pi_t's response is better": gold may label, or none be left."""
    by_gold = numbers.number(t, "build_pairs.labelled_by_gold") == 1.0
    return not by_gold and numbers.number(t, "build_pairs.pairs_pseudo") != 0.0


def step(numbers: Numbers, t: int) -> list[tuple[float, float]]:
    """Give what the label of an M-step is right more often than r_{t-1}, and what r_t gains.

    Returns:
        One pair of numbers; none where r_t did not learn from its labels.
    """
    found = labels(numbers, t)
    gained = difference(agreement(numbers, "own_samples", t))
    learnt = trained(numbers, t) and own_label(numbers, t)
    if not (len(found.label) and np.isfinite(gained) and learnt):
        return []
    return [(float(found.label.mean() - found.reward.mean()), gained)]


def label_sample(found: Sequence[Labels], where: Callable[[Labels], Bools] | None = None) -> Sample:
    """Compare label and reward model on pairs of one seed: right labels minus right signs."""
    label, reward = (
        np.concatenate(
            [
                (getattr(one, name) if where is None else getattr(one, name)[where(one)])
                for one in found
            ]
            or [np.zeros(0)]
        ).astype(np.float64)
        for name in ("label", "reward")
    )
    ones = np.ones(len(label))
    return Sample(label, ones, reward, ones)


def between(low: float, high: float) -> Callable[[Labels], Bools]:
    """Choose pairs whose margin is in (low, high]."""
    return lambda found: np.asarray((found.margin > low) & (found.margin <= high))
