"""Model selection on D_MS, which ends the E-step."""

from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

Ties = Literal["half", "loss"]
Judge = Literal["reward_model", "verifiable", "openai"]
TIE = 0.5
Draws = Literal["independent", "coupled"]


class Selected(NamedTuple):
    """The checkpoint with the highest win rate, and whether it is good enough to go on."""

    step: int
    win_rate: float
    active: bool


class Judged(NamedTuple):
    """Outcomes of duels, NaN where the prompt is left out, and the reasons, empty elsewhere."""

    outcomes: Floats
    reasons: list[str]


def seeds_of(draws: Draws) -> tuple[str, str]:
    """Name what the seeds of the candidates' and of pi_{t-1}'s responses are keyed by.

    The candidates always share theirs, because they are compared with each other. Coupled, a policy
    that hardly moved gives the very responses of pi_{t-1}: ties, which pull win rates towards one
    half. So pi_{t-1} has seeds of its own unless asked otherwise.

    Returns:
        The candidates' name, then pi_{t-1}'s.

    Source: ours; the paper does not speak of seeds.
    """
    return "duel", "duel" if draws == "coupled" else "duel_previous"


def outcomes(rewards: Floats, previous_rewards: Floats) -> Floats:
    """Judge duels: 1 where the candidate's reward is higher, 0.5 at a tie, else 0.

    Args:
        rewards: r_{t-1} of the candidate's responses, any shape.
        previous_rewards: r_{t-1} of pi_{t-1}'s responses to the same prompts, same shape.

    Raises:
        ValueError: the shapes differ, or a reward is not finite.

    Source: Mutual-Taught, model selection (equations 6 and 7); ties are ours.
    """
    if rewards.shape != previous_rewards.shape:
        raise ValueError(f"shapes differ: {rewards.shape}, {previous_rewards.shape}")
    if not (np.isfinite(rewards).all() and np.isfinite(previous_rewards).all()):
        raise ValueError("rewards of duels must be finite")
    return (np.sign(rewards - previous_rewards) + 1) / 2


def wins(results: Floats, ties: Ties) -> Floats:
    """Count what duels add to a win rate: 1 a win, 0 a loss, a tie what `ties` says.

    Args:
        results: outcomes (1, 0.5, 0), any shape.
        ties: `half` counts a tie as half a win, `loss` as a loss.

    Returns:
        Shares of a win, same shape.

    Source: ours; the paper is silent. Later code of its first author counts a tie as a loss.
    """
    return np.where(results == TIE, worth(ties), results)


def by_prompt(results: Floats, prompts: NDArray[Any]) -> Floats:
    """Give the share of each prompt's duels that were won: every prompt counts alike.

    Args:
        results: what one checkpoint's duels count (see `wins`), shape (duels,).
        prompts: the prompt of each, shape (duels,).

    Returns:
        Means, shape (prompts,), in the order of the prompts' names.

    Source: ours; the paper draws one response to a prompt, whose share is its result.
    """
    place = np.unique(prompts, return_inverse=True)[1]
    return np.bincount(place, results) / np.bincount(place)


def worth(ties: Ties) -> float:
    """Give the share of a win that a tie counts as."""
    return TIE if ties == "half" else 0.0


def judge_duels(rewards: Floats, previous_rewards: Floats, prompts: NDArray[Any]) -> Judged:
    """Judge the duels of all checkpoints, each on the same prompts.

    A prompt is left out, for all checkpoints alike, if any of its responses has no reward: win
    rates over different prompts could not be compared.

    Args:
        rewards: r_{t-1} of the checkpoints' responses, or another judge's number, NaN where there
            is none, shape (duels,).
        previous_rewards: those of pi_{t-1}'s responses to the same prompts, shape (duels,).
        prompts: the prompt of each duel, shape (duels,).

    Returns:
        Outcomes and reasons of the duels, in order.

    Source: ours; the paper is silent.
    """
    unscored = np.isnan(rewards) | np.isnan(previous_rewards)
    scored = ~np.isin(prompts, prompts[unscored])
    judged = np.full(rewards.shape, np.nan)
    judged[scored] = outcomes(rewards[scored], previous_rewards[scored])
    return Judged(judged, ["" if kept else "unscored" for kept in scored])


def outcomes_with_failures(rewards: Floats, previous_rewards: Floats) -> Floats:
    """Judge responses as `outcomes` does where some have no reward, which counts as a failure.

    A response without a reward loses against one that has a reward, and ties with another without.

    Args:
        rewards: of one side's responses, NaN where there is none, any shape.
        previous_rewards: of the other side's responses to the same prompts, same shape.

    Source: ours, for the evaluation.
    """
    failed, previous_failed = np.isnan(rewards), np.isnan(previous_rewards)
    judged = (previous_failed.astype(np.float64) - failed + 1) / 2
    known = ~failed & ~previous_failed
    judged[known] = outcomes(rewards[known], previous_rewards[known])
    return judged


def select_checkpoint(
    wins_by_step: dict[int, Floats], threshold: float, always_last: bool = False
) -> Selected:
    """Choose the checkpoint that beats pi_{t-1} most often; stop if it does so too seldom.

    Equal win rates go to the earliest step. With `always_last` (the ablation without model
    selection) the final step is taken and training goes on whatever its win rate.

    Args:
        wins_by_step: step -> share won on each prompt (see `by_prompt`), shape (prompts,).
        threshold: tau, a share; the iteration is active if the best win rate is at least tau.
        always_last: take the last checkpoint, never stop.

    Returns:
        The step, its win rate, and whether the iteration is active.

    Raises:
        ValueError: there is no checkpoint, or one without duels.

    Source: Mutual-Taught, model selection (equations 6 and 7) and stopping (tau = 0.6).
    """
    if not wins_by_step or any(values.size == 0 for values in wins_by_step.values()):
        raise ValueError("every checkpoint needs at least one duel")
    rates = {step: float(values.mean()) for step, values in sorted(wins_by_step.items())}
    step = max(rates) if always_last else max(rates, key=lambda step: (rates[step], -step))
    return Selected(step, rates[step], always_last or rates[step] >= threshold)
