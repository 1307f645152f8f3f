"""Evaluation on tables: gold, judgements, reward-model scores, and every number in eval.json."""

from collections.abc import Sequence
from functools import reduce
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mutual_taught.artifacts import tables
from mutual_taught.evaluation.judge import Systems
from mutual_taught.method.statistics import (
    Floats,
    Interval,
    bootstrap,
    pair_accuracy,
    ranked_right,
    sign_flip_p,
)

Metrics = dict[str, float | None]


def policy_metrics(systems: Systems, judgements: pa.Table, seed: int) -> Metrics:
    """Compute the policy's numbers from its generations and judgements.

    All intervals resample prompts: the answers of a prompt move together. Mean rewards are over the
    answers that have one; `policy.unscored` counts the others.

    Args:
        systems: generations of this policy, the base and the previous one, row by row of the same
            prompts and indices.
        judgements: what `judge` makes of them.
        seed: seed of the bootstrap and of the sign flips.

    Returns:
        By name; gold and its change only where a prompt has instructions, a win rate only where
        there are judgements.
    """
    own = systems.own
    found = {**_rewards(own), **_lengths(own), **_texts(own)}
    # Gold exists only for prompts with instructions; the base answers the same prompts.
    known = own["gold"].is_valid().to_numpy()
    if known.any():
        own, base = (table.filter(pa.array(known)) for table in (own, systems.base))
        found |= _gold(own, base, seed)
    for other in ("base", "previous"):
        for judge_name in ("verifiable", "reward_model"):
            found |= _win_rate(judgements, other, judge_name, seed)
    return found


def _rewards(own: pa.Table) -> Metrics:
    return {
        "policy.reward.r0.mean": _mean(own["reward_r0"]),
        "policy.reward.rt.mean": _mean(own["reward_rt"]),
        "policy.unscored": float(own["reward_rt"].null_count),
    }


def _mean(rewards: pa.ChunkedArray) -> float | None:
    """Give the mean over the answers that have a reward."""
    values = rewards.drop_null().to_numpy()
    return float(values.mean()) if len(values) else None


def _lengths(own: pa.Table) -> Metrics:
    lengths = own["length_tokens"].to_numpy()
    cut = own["finish_reason"].to_numpy(zero_copy_only=False) == "length"
    return {
        "policy.length_tokens.mean": float(lengths.mean()),
        "policy.length_tokens.median": float(np.median(lengths)),
        "policy.length_tokens.p95": float(np.percentile(lengths, 95)),
        "policy.truncated_rate": float(cut.mean()),
    }


def _texts(own: pa.Table) -> Metrics:
    texts = own["response"].to_pylist()
    blank = np.array([not text.strip() for text in texts])
    return {"policy.empty_rate": float(blank.mean()), "policy.distinct_2": distinct_2(texts)}


def _gold(own: pa.Table, base: pa.Table, seed: int) -> Metrics:
    """Give gold, the share of answers that follow all instructions, and gold's change from pi_0.

    Args:
        own: this policy's answers that have gold.
        base: pi_0's, the same rows.
        seed: of the bootstrap and of the sign flips.
    """
    groups, values = _prompts(own), own["gold"].to_numpy()
    passed = own["passed"].to_numpy(zero_copy_only=False).astype(np.float64)
    pass_rate = bootstrap(passed, seed, groups)
    change = values - base["gold"].to_numpy()
    # The test flips whole prompts, because the answers of one are no independent draws.
    per_prompt = np.bincount(groups, change) / np.bincount(groups)
    return {
        **_interval("policy.gold", bootstrap(values, seed, groups)),
        "policy.gold.pass_rate": pass_rate.mean,
        "policy.gold.pass_rate_ci_lo": pass_rate.ci_lo,
        "policy.gold.pass_rate_ci_hi": pass_rate.ci_hi,
        **_interval("policy.gold_vs_base", bootstrap(change, seed, groups)),
        "policy.gold_vs_base.p": sign_flip_p(per_prompt, seed),
    }


def _win_rate(judgements: pa.Table, other: str, judge_name: str, seed: int) -> Metrics:
    chosen = _where(judgements, system_b=other, judge=judge_name)
    if not len(chosen):
        return {}
    name = f"policy.win_rate.vs_{other}.{judge_name}"
    values = chosen["outcome"].to_numpy()
    found: Metrics = dict(_interval(name, bootstrap(values, seed, _prompts(chosen))))
    found[f"{name}.ties"] = float((values == 0.5).sum())
    if judge_name == "reward_model":
        # r_0 taught the policy, so its verdict is no independent one.
        found[f"{name}.independent"] = 0.0
        found[f"{name}.unscored"] = float((~chosen["parse_ok"].to_numpy()).sum())
    return found


def reward_model_metrics(scores: pa.Table, seed: int) -> Metrics:
    """Compute the reward models' numbers from `rm_scores`.

    `reward_model.<set>.…` is r_t on the held-out gold pairs; `reward_model.own_samples.{rt,r0}.…`
    are r_t and r_0 on the policy's own answers, and `difference` their paired difference. A pair
    with a side that has no reward is an error, counted as `unscored`. Rows may
    come in any order: they are summed in that of the written table, to the last bit.
    """
    scores = tables.RM_SCORES.sorted(scores)
    found: Metrics = {}
    for pairs in ("gold_pairs", "own_samples"):
        parts = {name: _where(scores, set=pairs, reward_model=name) for name in ("rt", "r0")}
        for name, part in parts.items():
            if len(part):
                found |= _accuracy(_prefix(pairs, name), part, seed)
        if all(map(len, parts.values())):
            found |= _difference(pairs, parts["rt"], parts["r0"], seed)
    return found


def _prefix(pairs: str, model: str) -> str:
    """Name a model's numbers: on gold pairs r_t goes without its name, as the one in question."""
    if (pairs, model) == ("gold_pairs", "rt"):
        return "reward_model.gold_pairs"
    return f"reward_model.{pairs}.{model}"


def _accuracy(prefix: str, part: pa.Table, seed: int) -> Metrics:
    """Measure one reward model on one set of pairs."""
    measured = pair_accuracy(*_sides(part), seed, _prompts(part))
    return {
        f"{prefix}.accuracy": measured.accuracy.mean,
        f"{prefix}.ci_lo": measured.accuracy.ci_lo,
        f"{prefix}.ci_hi": measured.accuracy.ci_hi,
        f"{prefix}.n": float(len(part)),
        f"{prefix}.ties": float(measured.ties),
        f"{prefix}.unscored": float(measured.unscored),
        f"{prefix}.log_loss": measured.log_loss,
        f"{prefix}.margin": measured.margin,
        f"{prefix}.accuracy_chosen_longer": _accuracy_where(part, longer=True),
        f"{prefix}.accuracy_chosen_shorter": _accuracy_where(part, longer=False),
    }


def _difference(pairs: str, own: pa.Table, base: pa.Table, seed: int) -> Metrics:
    """Give how much more often r_t is right than r_0 on the same pairs, both sorted alike."""
    change = ranked_right(*_sides(own)) - ranked_right(*_sides(base))
    return _interval(f"reward_model.{pairs}.difference", bootstrap(change, seed, _prompts(base)))


def _accuracy_where(part: pa.Table, longer: bool) -> float | None:
    """Give the accuracy on pairs whose chosen answer is longer, or shorter; none of equal length.

    A reward model that only knows length is right on one of the two and wrong on the other.
    """
    gap = part["length_chosen"].to_numpy() - part["length_rejected"].to_numpy()
    rows = gap > 0 if longer else gap < 0
    correct = ranked_right(*_sides(part))
    return float(correct[rows].mean()) if rows.any() else None


def distinct_2(texts: Sequence[str]) -> float:
    """Give the share of distinct word pairs among all word pairs of the answers.

    A word pair is two words that follow each other in one answer, parted by white space; 0 where
    no answer has two words. A policy that says one thing over and over comes near 0.

    Source: Li et al., 2016 (arXiv 1510.03055), over all answers together.
    """
    pairs = [pair for words in (text.split() for text in texts) for pair in pairwise(words)]
    return len(set(pairs)) / len(pairs) if pairs else 0.0


def _where(data: pa.Table, **values: str) -> pa.Table:
    """Take the rows whose columns have these values."""
    wanted = [pc.equal(data[column], value) for column, value in values.items()]
    return data.filter(reduce(pc.and_, wanted))


def _sides(part: pa.Table) -> tuple[Floats, Floats]:
    """Give the rewards of the chosen and of the rejected answers, NaN where there is none."""
    return part["reward_chosen"].to_numpy(), part["reward_rejected"].to_numpy()


def _prompts(data: pa.Table) -> NDArray[np.int64]:
    """Number each row's prompt: rows of one prompt are resampled together."""
    names = data["prompt_id"].to_numpy(zero_copy_only=False).astype(str)
    return np.unique(names, return_inverse=True)[1].astype(np.int64)


def _interval(name: str, interval: Interval) -> Metrics:
    return {f"{name}.{key}": float(value) for key, value in interval._asdict().items()}
