"""A length-neutral reward: what a reward says beyond how long a response is."""

import numpy as np

from mutual_taught.method.arrays import Bools, Floats, Ints

DIGITS = 9  # of a neutral reward: differences below are rounding, and decide nothing


def length_slope(rewards: Floats, lengths: Ints) -> float:
    """Estimate how much reward a token more brings among responses to the same prompt.

    The within-prompt slope of least squares, over all prompts at once: rewards and lengths are
    taken from their prompt's means, so that a prompt whose responses are all long and all good
    says nothing about length.

    Args:
        rewards: reward-model scores (logits), NaN where a response has none, shape (prompts, M).
        lengths: response lengths in tokens of the policy's tokenizer, shape (prompts, M).

    Returns:
        Sum of (length - mean) (reward - mean) over sum of (length - mean)^2, in logits a token; 0
        where no prompt has scored responses of two lengths.

    Raises:
        ValueError: the shapes differ, or a reward is infinite.

    Source: ours; the within estimator (fixed effects of prompts) of econometrics.
    """
    if rewards.shape != lengths.shape:
        raise ValueError(f"shapes differ: {rewards.shape}, {lengths.shape}")
    if np.isinf(rewards).any():
        raise ValueError("rewards must not be infinite")
    scored = ~np.isnan(rewards)
    longer = _from_mean(lengths.astype(np.float64), scored)
    better = _from_mean(np.where(scored, rewards, 0.0), scored)
    spread = float((longer**2).sum())
    return float((longer * better).sum()) / spread if spread else 0.0


def length_neutral(rewards: Floats, lengths: Ints, slope: float) -> Floats:
    """Take from every reward what the response's length brings it.

    A response of its prompt's mean length keeps its reward, so the prompt's mean stays as it is.

    Args:
        rewards: reward-model scores (logits), NaN where a response has none, shape (prompts, M).
        lengths: response lengths in tokens, shape (prompts, M).
        slope: logits a token (see `length_slope`).

    Returns:
        reward - slope (length - mean length of the prompt's scored responses), to 9 decimals: what
        is equal but for rounding stays a tie. NaN where there is no reward. Same shape.

    Source: ours.
    """
    longer = _from_mean(lengths.astype(np.float64), ~np.isnan(rewards))
    return np.asarray(np.round(rewards - slope * longer, DIGITS))


def _from_mean(values: Floats, scored: Bools) -> Floats:
    """Give distances from the prompt's mean over scored responses; 0 where one is not scored."""
    count = np.maximum(scored.sum(axis=1, keepdims=True), 1)
    mean = np.where(scored, values, 0.0).sum(axis=1, keepdims=True) / count
    return np.where(scored, values - mean, 0.0)
