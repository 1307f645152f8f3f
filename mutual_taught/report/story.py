"""The story of a run in a few sentences, each made from its numbers."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from mutual_taught.report.before_after import Change, final
from mutual_taught.report.past import History, Past

Metrics = Mapping[str, Mapping[str, float]]


class Told(NamedTuple):
    """What the story is made from: all iterations, tau, what changed.

    tau is None where the last checkpoint was taken, and where no params.yaml tells it.
    """

    history: History
    threshold: float | None
    policy: Sequence[Change]
    reward_model: Sequence[Change]


def sentences(told: Told) -> list[str]:
    """Tell how each iteration ended, then what became of both models.

    A difference rose or fell where its 95 % interval leaves out 0 and its p is below 0.05;
    otherwise it is said not to be clear, with its numbers all the same.
    """
    if len(told.history) == 1:
        return ["Only the start was measured: no iteration has ended yet."]
    return [
        *(line for past in told.history for line in _selection(past, told.threshold)),
        *_end(told.history),
        *_policy(told),
        *_reward_model(told),
        *_pairs(told.history),
    ]


def _selection(past: Past, threshold: float | None) -> Iterator[str]:
    numbers, t = past.metrics.get("select_policy", {}), past.iteration
    if t == 0 or "win_rate" not in numbers:
        return
    stopped = threshold is not None and not numbers.get("active")
    digits = apart(numbers["win_rate"], threshold or 0.0, 3) if stopped else 3
    rate = f"{numbers['win_rate']:.{digits}f}{_between(numbers, 'win_rate_ci')}"
    best = f"its best candidate (checkpoint {numbers['step']:.0f}) won {rate} of its duels"
    best += f" against π_{t - 1}"
    if took_last(numbers, threshold):
        yield f"Iteration {t} took its last checkpoint: it won {rate} of its duels."
    elif numbers.get("active"):
        tau = "" if threshold is None else f", τ is {threshold:.3f}"
        yield f"Iteration {t} went on: {best}{tau}."
    else:
        tau = "" if threshold is None else f" {threshold:.3f}"
        yield f"Iteration {t} stopped: {best}, below τ{tau}."


def took_last(numbers: Mapping[str, float], threshold: float | None) -> bool:
    """Tell whether the last checkpoint was taken whatever its win rate.

    Args:
        numbers: of `select_policy`; where tau decided they have the chance to reach it by luck.
        threshold: tau; None where nothing decided, or where it is not known.
    """
    return threshold is None and "null_passes" not in numbers


def _between(numbers: Mapping[str, float], name: str) -> str:
    if f"{name}_lo" not in numbers:
        return ""
    return f" [{numbers[f'{name}_lo']:.3f}, {numbers[f'{name}_hi']:.3f}]"


def _end(history: History) -> Iterator[str]:
    last = final(history)
    if last < history[-1].iteration:
        yield f"The final policy is π_{last}, the final reward model r_{last}."


def _policy(told: Told) -> Iterator[str]:
    last = final(told.history)
    if not last:
        return
    by_name = {change.name: change for change in told.policy}
    if gold := by_name.get("gold"):
        yield moved("Gold", gold, f"from π_0 to π_{last}")
    else:
        yield from _judged(next(p.metrics for p in told.history if p.iteration == last), last)
    if reward := by_name.get("mean reward, r_0"):
        yield moved("The mean reward under r_0, the policy's first teacher,", reward, "")
    if length := by_name.get("length, tokens"):
        yield _length(length)


def _judged(metrics: Metrics, last: int) -> Iterator[str]:
    numbers, name = metrics.get("eval", {}), "policy.win_rate.vs_base.reward_model"
    if f"{name}.mean" in numbers:
        low, high = numbers[f"{name}.ci_lo"], numbers[f"{name}.ci_hi"]
        yield (
            f"Without instructions that a program checks there is no gold. r_0, the policy's first "
            f"teacher, prefers π_{last}'s answer to π_0's in {numbers[f'{name}.mean']:.3f} "
            f"[{low:.3f}, {high:.3f}] of all comparisons."
        )


def moved(what: str, change: Change, way: str) -> str:
    """Say in a sentence whether a number rose or fell, by how much, and over how many prompts."""
    mean = change.difference.mean
    size = f"z.{apart(mean, 0.0, change.digits) if change.clear else change.digits}f"
    low, high = change.difference.ci_lo, change.difference.ci_hi
    prompts = "1 prompt" if change.difference.n == 1 else f"{change.difference.n} prompts"
    over = f"on the same {prompts} (p {shown_p(change.p)})"
    passage = " ".join(part for part in (way, over) if part)
    if not change.clear:
        interval = f"[{low:{size}}, {high:{size}}]"
        return f"{what} did not change clearly: {mean:+{size}} {interval} {passage}."
    low, high = sorted((abs(low), abs(high)))
    verb = "rose" if mean > 0 else "fell"
    return f"{what} {verb} by {abs(mean):{size}} [{low:{size}}, {high:{size}}] {passage}."


def apart(one: float, other: float, digits: int) -> int:
    """Give so many digits, or as many more, at most eight, as show two numbers apart."""
    known = range(digits, 9)
    return next((d for d in known if f"{one:z.{d}f}" != f"{other:z.{d}f}"), digits)


def shown_p(p: float) -> str:
    """Format a p: as it is, or below what can be told apart."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _length(change: Change) -> str:
    before, after = change.before.mean, change.after.mean
    if not change.clear:
        return f"The length of answers did not change clearly: {before:.1f} and {after:.1f} tokens."
    word = "longer" if after > before else "shorter"
    digits = apart(before, after, 1)
    return f"Answers became {word}: {before:.{digits}f} tokens, then {after:.{digits}f}."


def _reward_model(told: Told) -> Iterator[str]:
    last = final(told.history)
    if not last:
        return
    for change in told.reward_model:
        where = change.name.removeprefix("right on ")
        where = (
            f"pairs of π_{last}'s own answers" if where == "own samples" else f"held-out {where}"
        )
        low, high = change.difference.ci_lo, change.difference.ci_hi
        verdict = "no clear difference"
        if change.clear:
            verdict = f"r_{last} is {'better' if change.difference.mean > 0 else 'worse'}"
        yield (
            f"On {where} r_{last} is right on {change.after.mean:.3f}, r_0 on "
            f"{change.before.mean:.3f}: {verdict} ({change.difference.mean:+.3f} "
            f"[{low:.3f}, {high:.3f}], p {shown_p(change.p)})."
        )


def _pairs(history: History) -> Iterator[str]:
    parts = [
        f"{numbers['kept']:.0f} of {numbers['rows']:.0f} at t = {past.iteration}"
        for past in history
        if (numbers := past.metrics.get("build_pairs", {})).get("rows")
    ]
    if parts:
        yield f"The filter kept these pseudo pairs: {', '.join(parts)}."
