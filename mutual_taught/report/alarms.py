"""Alarms: what in a run's numbers should make its reader look twice, one line each.

Every rule is a function of an iteration's numbers and of those of iteration 0; docs/metrics.md has
the table of rules. None of them decides anything in a run.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from mutual_taught.method.statistics import RARE
from mutual_taught.report.summary import displacement, gold_inside

MOVED = 0.25  # share by which the mean length may change
RISEN = 0.05  # by which the share of cut, or of empty, responses may rise above pi_0's
FAR = 1.0  # nats a token that the policy's responses may be from pi_0
LUCKY = 0.1  # chance at which a policy that is no better may pass tau

TEACHER, BY_GOLD = "previous_reward_model", "verifiable"
BASED = {"own_samples": "pairs of its own answers", "gold_pairs": "held-out pairs"}
Metrics = Mapping[str, Any]  # stage -> name -> number


class Alarm(NamedTuple):
    """One thing to look at: its name in `metrics/alarms.json`, the iteration, what, what to try."""

    name: str
    iteration: int
    what: str
    advice: str

    def __str__(self) -> str:
        """Say it in one line."""
        return f"Alarm at t = {self.iteration}: {self.what}; try {self.advice}."


class Numbers(NamedTuple):
    """The numbers of iteration t, by stage, and those of the evaluation of iteration 0."""

    t: int
    metrics: Metrics
    base: Mapping[str, float]

    @property
    def own(self) -> Mapping[str, float]:
        """The evaluation of t; nothing where the run had stopped, for it evaluates nothing then."""
        found: Mapping[str, float] = self.metrics.get("eval", {})
        return found if found.get("active") else {}

    @property
    def selected(self) -> Mapping[str, float]:
        """The numbers of the selection; nothing where the run had stopped before."""
        found: Mapping[str, float] = self.metrics.get("select_policy", {})
        return found if "win_rate" in found else {}

    @property
    def judged(self) -> Mapping[str, float]:
        """The numbers of a judge that is independent of training; nothing without one."""
        found: Mapping[str, float] = self.metrics.get("judge", {})
        return found if found.get("active") else {}


def raised(history: Sequence[Mapping[str, Any]]) -> list[Alarm]:
    """Find all alarms of a run.

    Args:
        history: `iteration` and `metrics` (by stage) of iterations 0 to t.

    Returns:
        In order of iterations, then of RULES. A number that is not there raises nothing.
    """
    start: Metrics = next((item["metrics"] for item in history if item["iteration"] == 0), {})
    base = start.get("eval", {})
    return [
        alarm
        for item in history
        if item["iteration"] > 0
        for rule in RULES
        for alarm in rule(Numbers(item["iteration"], item["metrics"], base))
    ]


def lines(history: Sequence[Mapping[str, Any]]) -> list[str]:
    """Say all that a reader should know before trusting the numbers, one line each."""
    found = list(gold_inside(item["metrics"] for item in history))
    for item in history:
        found += displacement(item["iteration"], item["metrics"])
    return [*found, *map(str, raised(history))]


def numbers(history: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Count the alarms of the last iteration: `alarms`, and how many there are of each name."""
    last = [one for one in raised(history) if one.iteration == history[-1]["iteration"]]
    names = [one.name for one in last]
    return {"alarms": float(len(last)), **{name: float(names.count(name)) for name in names}}


def _over_optimised(of: Numbers) -> Iterator[Alarm]:
    """r_{t-1} prefers the new responses while gold, or an independent judge, prefers the old."""
    taught = f"policy.win_rate.vs_previous.{TEACHER}"
    if not (of.own.get(f"{taught}.ci_lo", 0.0) > 0.5 and _rare(of.own, taught)):
        return
    rate = f"r_{of.t - 1} prefers the new answers ({of.own[f'{taught}.mean']:.2f} of the duels)"
    advice = "a larger dpo.beta, a lower dpo.learning_rate or fewer epochs"
    gold = "policy.gold_vs_previous"
    if of.own.get(f"{gold}.ci_hi", 0.0) < 0 and _rare(of.own, gold):
        fell = -of.own[f"{gold}.mean"]
        yield Alarm("over_optimised", of.t, f"{rate} and gold fell by {fell:.3f}", advice)
    for name, high in of.judged.items():
        judge = name.removeprefix("policy.win_rate.vs_previous.").removesuffix(".ci_hi")
        rated = f"policy.win_rate.vs_previous.{judge}"
        if name == f"{rated}.ci_hi" and high < 0.5 and _rare(of.judged, rated):
            says = f"{rate} and {judge} the old ones"
            yield Alarm("over_optimised", of.t, says, advice)


def _rare(numbers: Mapping[str, float], name: str) -> bool:
    """Whether p is small, too: of very few prompts an interval is too narrow."""
    return numbers.get(f"{name}.p", 0.0) < RARE


def _length_moved(of: Numbers) -> Iterator[Alarm]:
    """The mean length is more than a quarter off that of pi_0, or of pi_{t-1}."""
    now = of.own.get("policy.length_tokens.mean", 0.0)
    for other, sign in (("previous", of.t - 1), ("base", 0)):
        before = now - of.own.get(f"policy.length_tokens_vs_{other}.mean", 0.0)
        if before > 0 and abs(now / before - 1) > MOVED:
            way = "longer" if now > before else "shorter"
            moved = f"answers are {abs(now / before - 1):.0%} {way} than those of π_{sign}"
            both = f"{moved} ({before:.1f}, now {now:.1f} tokens)"
            advice = "rank_pairs.length_neutral true, or a lower dpo.learning_rate where it is"
            where = "length_spearman of the reward model (docs/metrics.md)"
            yield Alarm("length_moved", of.t, both, f"{advice}, and look at {where}")
            return


def _more_cut_or_empty(of: Numbers) -> Iterator[Alarm]:
    """More responses than pi_0's are cut at the limit, or show nothing."""
    kinds = {
        "truncated": ("are cut at the limit", "a larger max_new_tokens of eval, sample and duel"),
        "empty": ("show nothing", "a lower dpo.learning_rate"),
    }
    for kind, (what, advice) in kinds.items():
        name = f"policy.{kind}_rate"
        now, before = of.own.get(name, 0.0), of.base.get(name, 1.0)
        if now - before > RISEN:
            shares = f"{now:.0%} of the answers {what}, {before:.0%} of π_0's"
            yield Alarm(f"more_{kind}", of.t, shares, advice)


def _far(of: Numbers) -> Iterator[Alarm]:
    """The policy's responses are far likelier under it than under pi_0."""
    far = of.own.get("policy.kl.k1_per_token", 0.0)
    if far > FAR:
        what = f"the policy is {far:.2f} nats a token from π_0, more than {FAR:g}"
        yield Alarm("far_from_base", of.t, what, "a larger dpo.beta or a lower dpo.learning_rate")


def _reward_model_worse(of: Numbers) -> Iterator[Alarm]:
    """r_t is right less often than r_0 on the same pairs."""
    for pairs, where in BASED.items():
        name = f"reward_model.{pairs}.difference"
        if of.own.get(f"{name}.ci_hi", 0.0) < 0 and _rare(of.own, name):
            less = f"r_{of.t} is right {-of.own[f'{name}.mean']:.3f} less often than r_0 on {where}"
            advice = "build_pairs.filter positive, a lower train_rm.learning_rate or train_rm.fixed"
            yield Alarm("reward_model_worse", of.t, less, advice)


def _candidates_lose(of: Numbers) -> Iterator[Alarm]:
    """Every candidate wins less than half of its duels: worse in its own teacher's eyes.

    Where a tie counts as a loss, the line says so: a candidate may have lost no duel at all.
    """
    count = of.selected.get("candidates", 0.0)
    if count and of.selected.get("candidates_below_half") == count:
        each = "the one candidate" if count == 1 else f"each of the {count:.0f} candidates"
        ties = ", a tie being a loss" if of.selected.get("tie_counts_as") == 0 else ""
        what = f"{each} won less than half of its duels against π_{of.t - 1}{ties}"
        yield Alarm("candidates_lose", of.t, what, "a lower dpo.learning_rate or a larger dpo.beta")


def _lucky(of: Numbers) -> Iterator[Alarm]:
    """A policy that is no better would often pass tau, with so few prompts and many candidates."""
    chance = of.selected.get("null_passes", 0.0)
    if chance > LUCKY:
        on = f"{of.selected['n']:.0f} prompts and {of.selected['candidates']:.0f} candidates"
        what = f"a policy that is no better passes τ in {chance:.0%} of cases with {on}"
        yield Alarm("luck_passes", of.t, what, "more data.splits.selection.prompts")


RULES: tuple[Callable[[Numbers], Iterator[Alarm]], ...] = (
    _candidates_lose,
    _lucky,
    _over_optimised,
    _length_moved,
    _more_cut_or_empty,
    _far,
    _reward_model_worse,
)
