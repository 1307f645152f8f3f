"""The E-step on tables: ranked pairs from scored responses, and the pairs DPO trains on."""

from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mutual_taught.artifacts.joins import sides
from mutual_taught.artifacts.texts import is_blank
from mutual_taught.errors import InputError
from mutual_taught.method import length
from mutual_taught.method.arrays import Bools, Floats, Ints
from mutual_taught.method.ranked_pairs import Rule, ended, filter_ranked_pairs, rank_pairs
from mutual_taught.method.reasons import CUT, UNSCORED

REFERENCE = ("reference_chosen_logps", "reference_rejected_logps")
DISAGREE = 2.0
SIDES = 2
LENGTH = "length"  # finish_reason of a response that was cut at the token limit


class Ranked(NamedTuple):
    """What is picked.

    pairs: table `ranked_pairs` without the reference log-probs, one row a prompt; its rewards are
    r_{t-1}'s own, however they were compared. slope: what a token more brings under r_{t-1}, in
    logits (see `length.length_slope`), where rewards are compared without it, else None.
    """

    pairs: pa.Table
    slope: float | None


def rank(responses: pa.Table, rewards: pa.Table, width: int, rule: Rule) -> Ranked:
    """Pick every prompt's pair.

    Args:
        responses: table `responses`, M rows a prompt, sorted.
        rewards: table `rewards`, the same rows; a null is no reward.
        width: M.
        rule: how a pair is picked.
    """
    values, lengths, cut = _of_prompts(responses, rewards, width)
    lots = responses["seed"].to_numpy().reshape(values.shape)
    compared, slope = ended(values, cut) if rule.ended_only else values, None
    if rule.length_neutral:
        slope = length.length_slope(compared, lengths)
        compared = length.length_neutral(compared, lengths, slope)
    pairs = rank_pairs(compared, lengths, lots, rule.chosen)
    rows = np.arange(len(values))
    texts = responses["response"].combine_chunks()
    chosen, rejected = (
        texts.take(pa.array(rows * width + np.maximum(side, 0)))
        for side in (pairs.chosen, pairs.rejected)
    )
    blank = pc.or_(is_blank(chosen), is_blank(rejected)).to_numpy(zero_copy_only=False)
    same = pc.equal(chosen, rejected).to_numpy(zero_copy_only=False)
    without = pairs.unscored & rule.ended_only & (np.isfinite(values).sum(axis=1) >= SIDES)
    reasons = filter_ranked_pairs(pairs.chosen, pairs.unscored, without, blank, same)
    none = pairs.chosen < 0
    table = pa.table(
        {
            "prompt_id": responses["prompt_id"].take(pa.array(rows * width)),
            "chosen_index": pa.array(pairs.chosen, mask=none),
            "rejected_index": pa.array(pairs.rejected, mask=none),
            "reward_chosen": pa.array(values[rows, pairs.chosen], mask=none),
            "reward_rejected": pa.array(values[rows, pairs.rejected], mask=none),
            "kept": [not reason for reason in reasons],
            "reason": reasons,
        }
    )
    return Ranked(table, slope)


def _of_prompts(responses: pa.Table, rewards: pa.Table, width: int) -> tuple[Floats, Ints, Bools]:
    """Lay out rewards, lengths in tokens, and which were cut, shape (prompts, M) each."""
    values, lengths = rewards["reward"].to_numpy(), responses["length_tokens"].to_numpy()
    cut = pc.equal(responses["finish_reason"], LENGTH).to_numpy(zero_copy_only=False)
    return values.reshape(-1, width), lengths.reshape(-1, width), cut.reshape(-1, width)


def sampled_logps(ranked: pa.Table, responses: pa.Table) -> Floats:
    """Give the sampler's log-probs of the kept pairs: (pairs, 2), chosen and rejected, in nats."""
    found = sides(ranked, responses, "logprob", len(responses) // len(ranked))
    return np.array([side.to_numpy() for side in found], np.float64).T


def compare_margins(logps: Floats, measured: Floats, policy: Path) -> dict[str, float]:
    """Compare margins (chosen - rejected) of the sampler and of the trainer's pass.

    Args:
        logps: (pairs, 2) of the sampler.
        measured: (pairs, 2) of the trainer's pass.
        policy: for the message.

    Raises:
        InputError: they differ by more than `DISAGREE` nats in the mean.
    """
    apart = np.abs((logps[:, 0] - logps[:, 1]) - (measured[:, 0] - measured[:, 1]))
    if not apart.mean() <= DISAGREE:
        raise InputError(
            f"{policy}: margins of the sampler's log-probs are {apart.mean():.3g} nats from those "
            f"of the trainer's pass (mean of {len(apart)} pairs); expected at most {DISAGREE}; "
            "use rank_pairs.reference_logps trainer"
        )
    return {
        "reference_margin_difference_mean": float(apart.mean()),
        "reference_margin_difference_max": float(apart.max()),
    }


def require_kept(ranked: pa.Table, folder: Path) -> None:
    """Refuse to go on without a single pair.

    Raises:
        InputError: with the reasons the pairs were dropped for.
    """
    if not pc.any(ranked["kept"]).as_py():
        reasons = Counter(ranked["reason"].to_pylist())
        listed = ", ".join(f"{reason} {count}" for reason, count in sorted(reasons.items()))
        advice = "sample more responses, or look at the reward model"
        if UNSCORED in reasons:
            advice = "raise tokens.max_length, or sample shorter responses"
        if CUT in reasons:
            advice = "raise sample.max_new_tokens, or set rank_pairs.ended_only false"
        raise InputError(
            f"{folder}: no pair is left of {len(ranked)} prompts ({listed}); expected at least "
            f"one; {advice}"
        )
