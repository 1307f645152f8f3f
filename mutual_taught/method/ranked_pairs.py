"""Preference pairs of the E-step: r_{t-1} ranks the policy's own responses."""

from typing import Literal, NamedTuple

import numpy as np

from mutual_taught.method.arrays import Bools, Floats, Ints
from mutual_taught.method.reasons import CUT, UNSCORED

ChosenRule = Literal["shortest_above_mean", "highest", "random", "given"]


class Rule(NamedTuple):
    """How a prompt's pair is picked.

    chosen: how the chosen response is. length_neutral: whether rewards are compared without what
    length brings. ended_only: whether responses cut at the token limit take no part.
    """

    chosen: ChosenRule
    length_neutral: bool = False
    ended_only: bool = False


class RankedPairs(NamedTuple):
    """Columns of the pair of every prompt, in prompt order; -1 where there is none.

    unscored: there is none because too few of the prompt's responses have a reward.
    """

    chosen: Ints
    rejected: Ints
    unscored: Bools


def rank_pairs(rewards: Floats, lengths: Ints, lots: Ints, rule: ChosenRule) -> RankedPairs:
    """Pick the E-step's chosen and rejected response of every prompt.

    Chosen is the shortest response whose reward exceeds the prompt's mean reward; rejected is the
    one with the lowest reward. The first column wins a tie in length or reward. Of other rules,
    `highest` takes the highest reward as chosen (max-min, as in iterative DPO), `random` draws two
    responses by lot and lets the reward decide which is chosen, `given` takes column 0 over
    column 1 whatever their rewards (preferences that came with the prompts). A prompt gives no
    pair where the rewards cannot tell the sides apart or none exceeds the mean (float rounding).

    A response without a reward is out of the mean, takes no part in any draw or comparison, and is
    neither chosen nor rejected. A prompt gives no pair where that leaves fewer than two responses,
    or, by the rule `given`, where one of its two has no reward.

    Args:
        rewards: reward-model scores (logits), NaN where a response has none, shape (prompts, M).
        lengths: response lengths in tokens of the policy's tokenizer, shape (prompts, M).
        lots: a random number per response, shape (prompts, M); the two lowest are drawn.
        rule: how the two are picked.

    Returns:
        Columns of chosen and rejected, in prompt order.

    Raises:
        ValueError: the shapes differ, or a reward is infinite.

    Source: Mutual-Taught (arXiv 2506.06292), E-step, length-controlled pairs; responses without a
    reward are ours.
    """
    if not rewards.shape == lengths.shape == lots.shape:
        raise ValueError(f"shapes differ: {rewards.shape}, {lengths.shape}, {lots.shape}")
    if np.isinf(rewards).any():
        raise ValueError(f"rewards of prompt {int(np.argwhere(np.isinf(rewards))[0, 0])}: infinite")
    rows = np.arange(len(rewards))
    scored = ~np.isnan(rewards)
    few = ~scored.all(axis=1) & (scored.sum(axis=1) < 2)
    if rewards.shape[1] < 2:
        chosen, rejected, alike = rows * 0, rows * 0, np.ones(len(rows), bool)
    elif rule == "given":
        chosen, rejected = np.zeros_like(rows), np.ones_like(rows)
        alike = np.zeros(len(rows), bool)
        few = ~scored[:, :2].all(axis=1)
    elif rule == "random":
        one, two = np.lexsort((lots, ~scored), axis=1)[:, :2].T  # the scored first
        first_wins = rewards[rows, one] >= rewards[rows, two]
        chosen, rejected = np.where(first_wins, one, two), np.where(first_wins, two, one)
        alike = rewards[rows, one] == rewards[rows, two]
    else:
        low, high = np.where(scored, rewards, np.inf), np.where(scored, rewards, -np.inf)
        lowest = low.min(axis=1, keepdims=True)  # a mean may be rounded to below it
        above = (high > _mean(rewards, scored)) & (high > lowest)
        shortest = np.where(above, lengths, np.iinfo(np.int64).max).argmin(axis=1)
        chosen = shortest if rule == "shortest_above_mean" else high.argmax(axis=1)
        rejected = low.argmin(axis=1)
        alike = ~above.any(axis=1)
    none = alike | few
    return RankedPairs(
        np.where(none, -1, chosen).astype(np.int64),
        np.where(none, -1, rejected).astype(np.int64),
        few,
    )


def _mean(rewards: Floats, scored: Bools) -> Floats:
    """Give every prompt's mean over its scored responses, shape (prompts, 1); 0 without any."""
    total = np.where(scored, rewards, 0.0).sum(axis=1, keepdims=True)
    return np.asarray(total / np.maximum(scored.sum(axis=1, keepdims=True), 1))


def ended(rewards: Floats, cut: Bools) -> Floats:
    """Leave responses that were cut at the token limit out: they get no reward.

    A response that was cut has no end-of-sequence token, so as the chosen one it says nothing of
    where to end.

    Args:
        rewards: shape (prompts, M), NaN where a response has none.
        cut: whether it was cut, same shape.

    Source: ours; the paper is silent.
    """
    return np.where(cut, np.nan, rewards)


def filter_ranked_pairs(
    chosen: Ints, unscored: Bools, cut: Bools, blank: Bools, same: Bools
) -> list[str]:
    """Decide which ranked pairs are kept: a pair that is dropped gets no second choice.

    Args:
        chosen: column of the chosen response, -1 where there is no pair, shape (prompts,).
        unscored: whether that is because too few responses have a reward, shape (prompts,).
        cut: whether that is only because responses that were cut are left out, shape (prompts,).
        blank: whether either side has no visible text, shape (prompts,).
        same: whether both sides are the same text, shape (prompts,).

    Returns:
        The reason each pair was dropped for, empty if it is kept.

    Source: ours; the paper is silent.
    """
    reasons = [CUT, UNSCORED, "rewards_alike", "blank", "same_text"]
    conditions = [cut, unscored, chosen < 0, blank, same]
    return list(np.select(conditions, reasons, "").tolist())
