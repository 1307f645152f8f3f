"""What came of the hypotheses: each claim of study/arms.yaml against the stored results."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple

from study import outcomes
from study.outcomes import Numbers
from study.plan import Block, Claim, StudyPlan
from study.statistics import NOTHING, Estimate, Sample, difference, estimate, single

FORMAT = "float32"
LEAST = 3  # seeds, of which an interval can be had


class Found(NamedTuple):
    """What is known of a claim: its estimate, how many seeds it is to have, and what came."""

    claim: Claim
    estimate: Estimate
    wanted: int
    state: str


def judge(plan: StudyPlan, done: Sequence[Numbers]) -> list[Found]:
    """Judge every claim by the units of its arms in float32, with seeds that the study has.

    Args:
        plan: the study.
        done: the units that ended well.
    """
    found = []
    for claim in plan.claims:
        arms = [claim.arm, *filter(None, [claim.minus])]
        blocks = [one for one in plan.order if claim.block in (None, one.name)]
        seeds = [{s for one in blocks if _of(one, arm) for s in one.seeds} for arm in arms]
        wanted = set.intersection(*seeds)
        known = [{one.unit.seed: one for one in done if _is(one, arm, wanted)} for arm in arms]
        number = _number(claim, known)
        found.append(Found(claim, number, len(wanted), _state(claim, number, len(wanted))))
    return found


def _of(block: Block, arm: str) -> bool:
    return arm in block.arms and FORMAT in block.formats


def _is(one: Numbers, arm: str, seeds: Collection[int]) -> bool:
    return (one.unit.arm, one.unit.format) == (arm, FORMAT) and one.unit.seed in seeds


def _number(claim: Claim, found: Sequence[Mapping[int, Numbers]]) -> Estimate:
    """Give the number of a claim, a seed an observation, of the seeds that all its arms have."""
    of, seeds = MEASURES[claim.measure], sorted(set.intersection(*map(set, found)))
    each = [[difference(of(units[seed])) for units in found] for seed in seeds]
    return estimate([single(own - sum(rest)) for own, *rest in each]) if each else NOTHING


def _state(claim: Claim, found: Estimate, wanted: int) -> str:
    """Say what came of a claim: the whole interval lies within its range, outside, or neither.

    It waits until all seeds are there: a verdict on some of them could be taken back.
    """
    low, high = claim.within
    if found.seeds < max(wanted, LEAST):
        return "waits"
    if low <= found.low and found.high <= high:
        return "holds"
    return "is wrong" if found.high < low or found.low > high else "is not shown"


def _labels(numbers: Numbers) -> Sample:
    steps = [outcomes.labels(numbers, t) for t in range(1, numbers.last + 1)]
    return outcomes.label_sample(steps)


def _length(numbers: Numbers) -> Sample:
    return single(numbers.average(numbers.last, "length") / numbers.average(0, "length"))


MEASURES: Mapping[str, Callable[[Numbers], Sample]] = {
    "gold": lambda numbers: outcomes.alone(numbers.prompts(numbers.last, "gold")),
    "rise": lambda numbers: outcomes.change(numbers, "gold"),
    "gain": lambda numbers: outcomes.agreement(numbers, "own_samples"),
    "held-out": lambda numbers: outcomes.agreement(numbers, "gold_pairs"),
    "label": _labels,
    "length": _length,
    "active": lambda numbers: single(float(numbers.active())),
}
