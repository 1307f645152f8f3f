"""Preference pairs of the E-step (ranked) and the M-step (pseudo-labelled), on arrays."""

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

ChosenRule = Literal["shortest_above_mean", "highest", "random", "given"]
FilterRule = Literal["tolerance", "none", "positive"]
Accumulated = Literal["none", "last", "all"]
UNSCORED = "unscored"  # the reason of a pair with too few rewards


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


def filter_ranked_pairs(chosen: Ints, unscored: Bools, blank: Bools, same: Bools) -> list[str]:
    """Decide which ranked pairs are kept: a pair that is dropped gets no second choice.

    Args:
        chosen: column of the chosen response, -1 where there is no pair, shape (prompts,).
        unscored: whether that is because too few responses have a reward, shape (prompts,).
        blank: whether either side has no visible text, shape (prompts,).
        same: whether both sides are the same text, shape (prompts,).

    Returns:
        The reason each pair was dropped for, empty if it is kept.

    Source: ours; the paper is silent.
    """
    reasons = [UNSCORED, "rewards_alike", "blank", "same_text"]
    return list(np.select([unscored, chosen < 0, blank, same], reasons, "").tolist())


def tolerance(previous_rewards: Floats) -> float:
    """Compute epsilon_t: the population standard deviation of the previous policy's rewards.

    Args:
        previous_rewards: r_{t-1}(x, y_{t-1}) over all answers to the reward prompts that have a
            reward, blank ones too, shape (answers,).

    Returns:
        The standard deviation with ddof 0, in the units of the rewards.

    Raises:
        ValueError: there is no reward, or one is not finite.

    Source: Mutual-Taught, M-step, Low-Quality Data Filtering (equations 5 and 8): epsilon_t.
    """
    if previous_rewards.size == 0 or not np.isfinite(previous_rewards).all():
        raise ValueError("epsilon_t needs at least one reward, all of them finite")
    alike = previous_rewards.min() == previous_rewards.max()  # whose mean may be rounded
    return 0.0 if alike else float(previous_rewards.std())


def filter_pseudo_pairs(
    margins: Floats, epsilon: float, blank: Bools, same: Bools, rule: FilterRule
) -> list[str]:
    """Decide which pseudo-labelled pairs (y_t chosen, y_{t-1} rejected) are kept.

    With rule `tolerance` a pair stays if its margin exceeds -epsilon: slightly negative margins
    regularise. `none` keeps all (epsilon infinite), `positive` only margins above 0. Pairs without
    a margin, with a blank side, or with both sides the same text, are dropped under every rule.

    Args:
        margins: r_{t-1}(x, y_t) - r_{t-1}(x, y_{t-1}), NaN where a side has no reward, shape
            (prompts,).
        epsilon: epsilon_t.
        blank: whether either side has no visible text, shape (prompts,).
        same: whether both sides are the same text, shape (prompts,).
        rule: which margins are kept.

    Returns:
        The reason each pair was dropped for, empty if it is kept.

    Raises:
        ValueError: a margin is infinite.

    Source: Mutual-Taught, M-step, Low-Quality Data Filtering (equations 5 and 8, appendix F):
    pairs with margin <= -epsilon_t are removed.
    """
    if np.isinf(margins).any():
        raise ValueError("margins must be finite")
    floor = {"tolerance": -epsilon, "none": -np.inf, "positive": 0.0}[rule]
    reasons = [UNSCORED, "blank", "same_text", "margin"]
    conditions = [np.isnan(margins), blank, same, margins <= floor]
    return list(np.select(conditions, reasons, "").tolist())


def carried(iterations: Ints, iteration: int, rule: Accumulated) -> Bools:
    """Decide which pairs of earlier mixes are in the mix of t, too.

    `none` carries no pair on, `last` those made in t - 1, `all` whatever the mix of t - 1 holds:
    made by the same rule, it has the pairs of all earlier iterations.

    Args:
        iterations: the iteration every pair of the mix of t - 1 was made in, shape (pairs,).
        iteration: t.
        rule: how far back.

    Returns:
        Whether a pair is carried on, shape (pairs,).

    Source: ours; the paper mixes the pairs of iteration t only.
    """
    oldest = {"none": iteration, "last": iteration - 1, "all": 0}[rule]
    return iterations >= oldest
