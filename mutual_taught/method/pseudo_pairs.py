"""Preference pairs of the M-step: pi_t's answer over pi_{t-1}'s, filtered."""

from typing import Literal

import numpy as np

from mutual_taught.method.arrays import Bools, Floats, Ints
from mutual_taught.method.reasons import GOLD_TIE, UNSCORED

FilterRule = Literal["tolerance", "none", "positive"]
Accumulated = Literal["none", "last", "all"]
Labels = Literal["policy", "verifiable"]
Weights = Literal["none", "calibrated"]


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


def labels_by_gold(gold: Floats, previous_gold: Floats) -> Ints:
    """Label the side chosen that has the higher gold, which follows its instructions further.

    Args:
        gold: shares of the instructions that y_t follows, shape (prompts,).
        previous_gold: likewise of y_{t-1}, same shape.

    Returns:
        1 where y_t is chosen, -1 where y_{t-1} is, 0 where neither is better, shape (prompts,).

    Source: ours; the paper labels y_t chosen everywhere.
    """
    return np.sign(gold - previous_gold).astype(np.int64)


def filter_pseudo_pairs(
    margins: Floats,
    epsilon: float,
    blank: Bools,
    same: Bools,
    rule: FilterRule,
    tied: Bools | None = None,
) -> list[str]:
    """Decide which labelled pairs (in the paper: y_t chosen, y_{t-1} rejected) are kept.

    With rule `tolerance` a pair stays if its margin exceeds -epsilon: slightly negative margins
    regularise. `none` keeps all (epsilon infinite), `positive` only margins above 0. Pairs without
    a margin, with a blank side, with both sides the same text, or with none that is better by gold,
    are dropped under every rule.

    Args:
        margins: r_{t-1} of the chosen side less that of the rejected one, so in the paper
            r_{t-1}(x, y_t) - r_{t-1}(x, y_{t-1}); NaN where a side has no reward, shape (prompts,).
        epsilon: epsilon_t.
        blank: whether either side has no visible text, shape (prompts,).
        same: whether both sides are the same text, shape (prompts,).
        rule: which margins are kept.
        tied: whether gold labels neither side chosen, shape (prompts,); None where it labels none.

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
    neither = np.zeros(len(margins), bool) if tied is None else tied
    reasons = [UNSCORED, "blank", "same_text", GOLD_TIE, "margin"]
    conditions = [np.isnan(margins), blank, same, neither, margins <= floor]
    return list(np.select(conditions, reasons, "").tolist())


def drawn_seeds(lots: Ints, share: float) -> Bools:
    """Draw which of r_0's own training pairs are in the mix of t, so that r_t does not forget them.

    Those with the lowest lots are drawn: the share of all, rounded, and one at least. The draw for
    a larger share holds that for a smaller one.

    Args:
        lots: a number for each pair that the seed, the iteration and its prompt give, shape
            (pairs,); at least one.
        share: in (0, 1].

    Returns:
        Whether a pair is drawn, shape (pairs,).

    Source: ours; replay of earlier data against forgetting (arXiv 1811.11682).
    """
    drawn = np.zeros(len(lots), bool)
    drawn[np.argsort(lots, kind="stable")[: max(1, round(share * len(lots)))]] = True
    return drawn


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
