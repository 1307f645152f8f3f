"""Every number in eval.json that is of the policy, on tables."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa

from mutual_taught.evaluation.intervals import Groups, Metrics, change, mean, prompts, where
from mutual_taught.evaluation.judge import GOLD, JUDGED, TEACHER, Systems
from mutual_taught.method.length_control import lc_minimal
from mutual_taught.method.statistics import Floats

RESPONSE = ("prompt_id", "response_index")  # what names one among generations and judgements


def policy_metrics(systems: Systems, judgements: pa.Table, seed: int) -> Metrics:
    """Compute the policy's numbers from its generations and judgements.

    All intervals resample prompts: the responses of a prompt move together. `n`, `ties` and
    `unscored` count responses, `prompts` prompts. Mean rewards are over the responses that have
    one; `policy.unscored` counts the others.

    Args:
        systems: generations of this policy, the base and the previous one, row by row of the same
            prompts and indices.
        judgements: what `judge` makes of them.
        seed: seed of the bootstrap and of the sign flips.

    Returns:
        By name; gold and its change only where a prompt has instructions, a win rate only where
        there are judgements.
    """
    own, groups = systems.own, prompts(systems.own)
    found = {**_rewards(own, groups, seed), **_lengths(own), **_texts(own), **_kl(own, seed)}
    for name, column in (("reward.r0", "reward_r0"), ("length_tokens", "length_tokens")):
        found |= _changes(f"policy.{name}", column, systems, groups, seed)
    if own["gold"].null_count < len(own):
        found |= _gold(systems, groups, seed)
    for other, judge_names in JUDGED.items():
        for judge_name in judge_names:
            found |= _win_rate(judgements, systems, other, judge_name, seed)
    return found | _over_optimisation(judgements, seed)


def _rewards(own: pa.Table, groups: Groups, seed: int) -> Metrics:
    found = {
        name: mean(f"policy.reward.{name}", own[f"reward_{name}"].to_numpy(), groups, seed)
        for name in ("r0", "rt")
    }
    return {**found["r0"], **found["rt"], "policy.unscored": float(own["reward_rt"].null_count)}


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


def _kl(own: pa.Table, seed: int) -> Metrics:
    """Estimate how far the policy is from pi_0, by its own responses (estimator k1).

    log pi_t(y | x) - log pi_0(y | x), both at temperature 1 and summed over y's tokens, averaged
    over responses, in nats. It is an unbiased estimate of KL(pi_t || pi_0) where responses are
    drawn at temperature 1 with top-p 1. Drawn at a lower temperature, they are the likelier ones,
    and it is the mean log-ratio on the responses that the policy gives. It may be negative by
    chance.

    Source: Schulman, 2020, "Approximating KL divergence", k1.
    """
    ratio = own["logprob"].to_numpy() - own["base_logprob"].to_numpy()
    a_token = float(ratio.sum() / own["length_tokens"].to_numpy().sum())
    found = mean("policy.kl.k1", ratio, prompts(own), seed)
    return {**found, "policy.kl.k1_per_token": a_token}


def _changes(name: str, column: str, systems: Systems, groups: Groups, seed: int) -> Metrics:
    """Give a column's mean change from pi_0 and from pi_{t-1}, on the same prompts and seeds."""
    found: Metrics = {}
    for other, earlier in (("base", systems.base), ("previous", systems.previous)):
        differences = _numbers(systems.own, column) - _numbers(earlier, column)
        found |= change(f"{name}_vs_{other}", differences, groups, seed)
    return found


def _numbers(data: pa.Table, column: str) -> Floats:
    """Give a column as float64, NaN where there is no number."""
    return np.asarray(data[column].to_numpy(zero_copy_only=False), np.float64)


def _gold(systems: Systems, groups: Groups, seed: int) -> Metrics:
    """Give gold, the share of responses that follow all instructions, and gold's changes.

    Only prompts with instructions have gold; all systems answer the same.
    """
    passed = mean("passed", _numbers(systems.own, "passed"), groups, seed)
    return {
        **mean("policy.gold", _numbers(systems.own, "gold"), groups, seed),
        "policy.gold.pass_rate": passed["passed.mean"],
        "policy.gold.pass_rate_ci_lo": passed["passed.ci_lo"],
        "policy.gold.pass_rate_ci_hi": passed["passed.ci_hi"],
        **_changes("policy.gold", "gold", systems, groups, seed),
    }


def _win_rate(
    judgements: pa.Table, systems: Systems, other: str, judge_name: str, seed: int
) -> Metrics:
    """Give a win rate with its p against one half, and what it is at equal length.

    The length that is controlled is that of the text in characters, as AlpacaEval's is.
    """
    chosen = where(judgements, system_b=other, judge=judge_name)
    if not len(chosen):
        return {}
    name = f"policy.win_rate.vs_{other}.{judge_name}"
    values, groups = chosen["outcome"].to_numpy(), prompts(chosen)
    tested = change(name, values - 0.5, groups, seed)[f"{name}.p"]
    found = {**mean(name, values, groups, seed), f"{name}.p": tested}
    found[f"{name}.ties"] = float((values == 0.5).sum())
    earlier = systems.base if other == "base" else systems.previous
    lengths = (_beside(chosen, table, "length_chars") for table in (systems.own, earlier))
    found[f"{name}.lc_minimal"] = lc_minimal(values, *lengths)
    if judge_name != GOLD:
        # r_0 and r_{t-1} taught the policy, so their verdict is no independent one.
        found[f"{name}.independent"] = 0.0
        found[f"{name}.unscored"] = float((~chosen["parse_ok"].to_numpy()).sum())
    return found


def _over_optimisation(judgements: pa.Table, seed: int) -> Metrics:
    """Give by how much r_{t-1} overrates what it taught: its win rate against pi_{t-1} less gold's.

    Both judge the same responses, those to prompts with instructions, response by response. Above
    0, the policy gained more in its teacher's eyes than it did.
    """
    gold = where(judgements, system_b="previous", judge=GOLD)
    if not len(gold):
        return {}
    taught = where(judgements, system_b="previous", judge=TEACHER)
    gap = _beside(gold, taught, "outcome") - gold["outcome"].to_numpy()
    return change("policy.over_optimisation", gap, prompts(gold), seed)


def _beside(rows: pa.Table, other: pa.Table, column: str) -> Any:
    """Look another table's column up for the responses of these rows, shape (rows,)."""
    ids = (zip(*(data[key].to_pylist() for key in RESPONSE), strict=True) for data in (rows, other))
    wanted, there = ids
    known = dict(zip(there, other[column].to_pylist(), strict=True))
    return np.array([known[response] for response in wanted])


def distinct_2(texts: Sequence[str]) -> float:
    """Give the share of distinct word pairs among all word pairs of the responses.

    A word pair is two words that follow each other in one response, parted by white space; 0 where
    no response has two words. A policy that says one thing over and over comes near 0.

    Source: Li et al., 2016 (arXiv 1510.03055), over all responses together.
    """
    pairs = [pair for words in (text.split() for text in texts) for pair in pairwise(words)]
    return len(set(pairs)) / len(pairs) if pairs else 0.0
