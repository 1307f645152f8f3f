"""Evaluation on tables: gold, judgements, reward-model scores, and every number in eval.json."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pyarrow as pa
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
    """
    own = systems.own
    prompts = own["prompt_id"].to_numpy(zero_copy_only=False)
    lengths = own["length_tokens"].to_numpy()
    blank = np.array([not text.strip() for text in own["response"].to_pylist()])
    found: Metrics = {
        "policy.reward.r0.mean": _mean(own["reward_r0"]),
        "policy.reward.rt.mean": _mean(own["reward_rt"]),
        "policy.unscored": float(own["reward_rt"].null_count),
        "policy.length_tokens.mean": float(lengths.mean()),
        "policy.length_tokens.median": float(np.median(lengths)),
        "policy.length_tokens.p95": float(np.percentile(lengths, 95)),
        "policy.truncated_rate": float(
            (own["finish_reason"].to_numpy(zero_copy_only=False) == "length").mean()
        ),
        "policy.empty_rate": float(blank.mean()),
        "policy.distinct_2": distinct_2(own["response"].to_pylist()),
    }
    known = own["gold"].is_valid().to_numpy()
    values = own["gold"].to_numpy()[known]
    if len(values):
        found |= _interval("policy.gold", bootstrap(values, seed, _codes(prompts[known])))
        passed = own["passed"].to_numpy(zero_copy_only=False)[known].astype(np.float64)
        pass_rate = bootstrap(passed, seed, _codes(prompts[known]))
        found |= {
            "policy.gold.pass_rate": pass_rate.mean,
            "policy.gold.pass_rate_ci_lo": pass_rate.ci_lo,
            "policy.gold.pass_rate_ci_hi": pass_rate.ci_hi,
        }
        found |= _gold_change(systems, known, prompts, seed)
    for name in ("base", "previous"):
        for judge_name in ("verifiable", "reward_model"):
            found |= _win_rate(judgements, name, judge_name, seed)
    return found


def _mean(rewards: pa.ChunkedArray) -> float | None:
    """Give the mean over the answers that have a reward."""
    values = rewards.drop_null().to_numpy()
    return float(values.mean()) if len(values) else None


def _gold_change(
    systems: Systems, known: NDArray[np.bool_], prompts: NDArray[np.object_], seed: int
) -> Metrics:
    change = systems.own["gold"].to_numpy()[known] - systems.base["gold"].to_numpy()[known]
    groups = _codes(prompts[known])
    per_prompt = np.bincount(groups, change) / np.bincount(groups)
    return {
        **_interval("policy.gold_vs_base", bootstrap(change, seed, groups)),
        "policy.gold_vs_base.p": sign_flip_p(per_prompt, seed),
    }


def _win_rate(judgements: pa.Table, other: str, judge_name: str, seed: int) -> Metrics:
    rows = np.flatnonzero(
        (judgements["system_b"].to_numpy(zero_copy_only=False) == other)
        & (judgements["judge"].to_numpy(zero_copy_only=False) == judge_name)
    )
    chosen = judgements.take(pa.array(rows))
    if not len(chosen):
        return {}
    name = f"policy.win_rate.vs_{other}.{judge_name}"
    values = chosen["outcome"].to_numpy()
    groups = _codes(chosen["prompt_id"].to_numpy(zero_copy_only=False))
    found: Metrics = dict(_interval(name, bootstrap(values, seed, groups)))
    found[f"{name}.ties"] = float((values == 0.5).sum())
    if judge_name == "reward_model":
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
    found: Metrics = {}
    if len(scores):
        scores = scores.sort_by([(key, "ascending") for key in tables.RM_SCORES.keys])
    for name, sets in (("gold_pairs", "gold_pairs"), ("own_samples", "own_samples")):
        right: dict[str, Floats] = {}
        groups = np.zeros(0, np.int64)
        for model in ("rt", "r0"):
            rows = np.flatnonzero(
                (scores["set"].to_numpy(zero_copy_only=False) == sets)
                & (scores["reward_model"].to_numpy(zero_copy_only=False) == model)
            )
            part = scores.take(pa.array(rows))
            if not len(part):
                continue
            chosen, rejected = part["reward_chosen"].to_numpy(), part["reward_rejected"].to_numpy()
            groups = _codes(part["prompt_id"].to_numpy(zero_copy_only=False))
            measured = pair_accuracy(chosen, rejected, seed, groups)
            prefix = f"reward_model.{name}" if name == "gold_pairs" else ""
            prefix = (
                f"{prefix}{'.r0' if model == 'r0' else ''}"
                if prefix
                else (f"reward_model.{name}.{model}")
            )
            interval = measured.accuracy
            found |= {
                f"{prefix}.accuracy": interval.mean,
                f"{prefix}.ci_lo": interval.ci_lo,
                f"{prefix}.ci_hi": interval.ci_hi,
                f"{prefix}.n": float(len(part)),
                f"{prefix}.ties": float(measured.ties),
                f"{prefix}.unscored": float(measured.unscored),
                f"{prefix}.log_loss": measured.log_loss,
                f"{prefix}.margin": measured.margin,
                f"{prefix}.accuracy_chosen_longer": _accuracy_where(part, longer=True),
                f"{prefix}.accuracy_chosen_shorter": _accuracy_where(part, longer=False),
            }
            right[model] = ranked_right(chosen, rejected)
        if len(right) == 2:
            change = bootstrap(right["rt"] - right["r0"], seed, groups)
            found |= _interval(f"reward_model.{name}.difference", change)
    return found


def _accuracy_where(part: pa.Table, longer: bool) -> float | None:
    gap = part["length_chosen"].to_numpy() - part["length_rejected"].to_numpy()
    rows = gap > 0 if longer else gap < 0
    right = ranked_right(part["reward_chosen"].to_numpy(), part["reward_rejected"].to_numpy())
    return float(right[rows].mean()) if rows.any() else None


def distinct_2(texts: Sequence[str]) -> float:
    """Give the share of distinct word pairs among all word pairs of the answers."""
    pairs = [pair for words in (text.split() for text in texts) for pair in pairwise(words)]
    return len(set(pairs)) / len(pairs) if pairs else 0.0


def _interval(name: str, interval: Interval) -> Metrics:
    return {f"{name}.{key}": float(value) for key, value in interval._asdict().items()}


def _codes(names: NDArray[np.object_]) -> NDArray[np.int64]:
    return np.unique(names.astype(str), return_inverse=True)[1].astype(np.int64)
