"""The few numbers of an iteration that `dvc metrics` and `dvc exp show` see."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

# Short name -> stage and name of the number in run/t/metrics/<stage>.json.
NUMBERS = {
    "win_rate": ("select_policy", "win_rate"),
    "gold": ("eval", "policy.gold.mean"),
    "gold_change": ("eval", "policy.gold_vs_base.mean"),
    "pass_rate": ("eval", "policy.gold.pass_rate"),
    "win_rate_base": ("eval", "policy.win_rate.vs_base.verifiable.mean"),
    "reward_r0": ("eval", "policy.reward.r0.mean"),
    "length": ("eval", "policy.length_tokens.mean"),
    "rm_accuracy": ("eval", "reward_model.gold_pairs.accuracy"),
    "rm_own_samples": ("eval", "reward_model.own_samples.rt.accuracy"),
}

# Stage and name of a number that is there where gold decided, and what it did.
GOLD_DECIDED = {
    ("select_policy", "judged_by_gold"): "judged the candidates",
    ("build_pairs", "labelled_by_gold"): "labelled the pairs on D_M",
    ("build_pairs", "weighed_by_gold"): "weighed the pairs on D_M",
}

DISPLACED = 5.0  # nats by which the chosen responses' log-probability may fall unremarked


def displacement(iteration: int, metrics: Mapping[str, Any]) -> Iterator[str]:
    """Say in a line if DPO made the very responses it chose much less likely.

    Args:
        iteration: t.
        metrics: of the iteration, by stage; `chosen_logp_change` of `dpo` is in nats.
    """
    change = metrics.get("dpo", {}).get("chosen_logp_change")
    if change is not None and change < -DISPLACED:
        yield (
            f"Likelihood displacement at t = {iteration}: the log-probability of the chosen "
            f"answers fell by {-change:.1f} nats, which often shortens answers; try "
            "dpo.loss_type nca_pair or a lower dpo.learning_rate."
        )


def gold_inside(iterations: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Say in a line if gold decided anything: it is no outside measure of such a run.

    Args:
        iterations: metrics by stage, of each iteration.
    """
    known = list(iterations)
    ways = [
        did
        for (stage, name), did in GOLD_DECIDED.items()
        if any(metrics.get(stage, {}).get(name) for metrics in known)
    ]
    if ways:
        yield (
            f"Gold is inside the loop: it {' and '.join(ways)}. So it does not measure this run "
            "from outside."
        )


def final_iteration(history: Sequence[Mapping[str, Any]]) -> int:
    """Find the iteration whose policy is the last one's: the last that selected a checkpoint.

    Args:
        history: `iteration` and `metrics` (by stage) of iterations 0 to t.
    """
    selecting = (item for item in history if item["metrics"].get("select_policy", {}).get("active"))
    return max((item["iteration"] for item in selecting), default=0)


def numbers(history: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    """Sum up the last iteration of a run, at most twelve numbers; None where there is none.

    Args:
        history: `iteration` and `metrics` (by stage) of iterations 0 to t.

    Returns:
        `final_iteration`, then the numbers of NUMBERS, the share of pseudo pairs that the filter
        kept, and how many responses had no reward. A stopped iteration has the evaluation of the
        policy that it carries on, and the win rate of the best checkpoint that lost.
    """
    metrics = history[-1]["metrics"]
    pseudo = metrics.get("build_pairs", {})
    return {
        "final_iteration": float(final_iteration(history)),
        **{name: metrics.get(stage, {}).get(key) for name, (stage, key) in NUMBERS.items()},
        "pseudo_kept": pseudo["kept"] / pseudo["rows"] if pseudo.get("rows") else None,
        "unscored": metrics.get("score", {}).get("unscored"),
    }
