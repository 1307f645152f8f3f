"""The rule that chooses the laptop preset, as docs/study.md wrote it before the runs."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from study import outcomes
from study.outcomes import Numbers
from study.statistics import difference

SHORTEST, LONGEST = 0.7, 1.4  # of pi_0's mean length
FALL = -5.0  # nats: the chosen responses' log-prob may fall so far in an iteration's DPO
ALIKE = 0.01  # of gold: candidates this near count as alike


class Check(NamedTuple):
    """What makes a run sound: all of these."""

    goes_on: bool
    gold_rises: bool
    length: bool
    likely: bool

    @property
    def sound(self) -> bool:
        """Tell whether all hold."""
        return all(self)


class Candidate(NamedTuple):
    """A candidate's runs, and what decides between equals: its policy prompts, loss and rate."""

    name: str
    checks: tuple[Check, ...]
    change: float
    prompts: int
    loss: str
    rate: float

    @property
    def sound(self) -> int:
        """Count the sound runs."""
        return sum(check.sound for check in self.checks)


def check(numbers: Numbers) -> Check:
    """Check a run.

    Both iterations go on; the 95 % interval of gold's change from pi_0 lies above 0; the mean
    length is 0.7 to 1.4 times pi_0's; in no iteration does the log-prob of the chosen responses
    fall by more than 5 nats.
    """
    last = numbers.last
    ratio = numbers.average(last, "length") / numbers.average(0, "length")
    falls = [numbers.number(t, "dpo.chosen_logp_change") for t in range(1, last + 1)]
    return Check(
        numbers.active() == last,
        numbers.number(last, "eval.policy.gold_vs_base.ci_lo") > 0,
        SHORTEST <= ratio <= LONGEST,
        not any(fall < FALL for fall in falls),
    )


def needed(runs: int) -> tuple[int, int, int, int]:
    """Give in how many runs each bound of a check must hold for the preset: all but one go on."""
    return max(runs - 1, 1), runs, runs, runs


def verdict(held: int, missing: int, least: int) -> str:
    """Say whether a bound holds in enough runs; the missing ones may still decide."""
    if held >= least:
        return "holds"
    return "fails" if held + missing < least else "open"


def candidate(
    name: str, runs: Sequence[Numbers], values: Mapping[str, Mapping[str, object]]
) -> Candidate:
    """Sum up a candidate's runs; `values` are its params."""
    means = [difference(outcomes.change(one, "gold")) for one in runs]
    return Candidate(
        name,
        tuple(check(one) for one in runs),
        float(np.mean(means)),
        policy_prompts(values),
        str(values["dpo"]["loss_type"]),
        float(str(values["dpo"]["learning_rate"])),
    )


def policy_prompts(values: Mapping[str, Mapping[str, object]]) -> int:
    """Give how many policy prompts an iteration takes; all of a split count as endless."""
    splits = values["data"]["splits"]
    assert isinstance(splits, Mapping)
    return int(splits["policy"]["prompts"] or 1 << 30)


def settled(candidates: Sequence[Candidate], runs: int) -> Candidate | None:
    """Choose as soon as no run that waits can change the choice, else None.

    It can where a candidate, if all its runs that wait were sound, had as many sound runs as the
    best of those whose runs are all there.

    Args:
        candidates: all there are, each with the runs that were made.
        runs: how many each is to have.
    """
    ready = [one for one in candidates if len(one.checks) == runs]
    best = max((one.sound for one in ready), default=-1)
    waiting = [one for one in candidates if len(one.checks) < runs]
    if any(one.sound + runs - len(one.checks) >= best for one in waiting):
        return None
    return choose(ready)


def choose(candidates: Sequence[Candidate]) -> Candidate:
    """Choose among candidates whose runs are all there.

    Those whose runs are all sound compete; if there is none, those with the most sound runs. The
    highest mean change of gold wins. One within 0.01 of it wins instead if it has fewer policy
    prompts. Of candidates still alike `nca_pair` comes before another loss, the lower rate before
    the higher.

    Args:
        candidates: at least one, each with the same number of runs.
    """
    best = max(one.sound for one in candidates)
    compete = [one for one in candidates if one.sound == best]
    highest = max(one.change for one in compete)
    near = [one for one in compete if one.change >= highest - ALIKE]
    return min(near, key=lambda one: (one.prompts, one.loss != "nca_pair", one.rate, -one.change))
