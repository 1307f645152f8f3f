"""What stored answers cost: how far the reward model favours texts it was trained on."""

import numpy as np
from numpy.typing import NDArray


def reuse_shift(rewards: NDArray[np.float64], base_rewards: NDArray[np.float64]) -> float | None:
    """Measure how far r_{t-1} lifts y_{t-1} above y_t, beyond what r_0 does.

    Were y_{t-1} as new to r_{t-1} as y_t is, this would be what r_{t-1} has learnt about the two
    policies. Where y_{t-1} are texts that r_{t-1} was trained on as chosen ones, it also holds what
    it has memorised of them, by which every margin is too low.

    Args:
        rewards: r_{t-1}(x, y_t) and r_{t-1}(x, y_{t-1}), NaN where there is none, shape
            (prompts, 2).
        base_rewards: the same of r_0, same shape.

    Returns:
        The mean, over prompts that have all four rewards, of [r_{t-1}(x, y_{t-1}) -
        r_0(x, y_{t-1})] - [r_{t-1}(x, y_t) - r_0(x, y_t)]; None if there is no such prompt.

    Raises:
        ValueError: the shapes differ, or are not of two columns.
    """
    if rewards.shape != base_rewards.shape or rewards.shape[1:] != (2,):
        raise ValueError(
            f"rewards {rewards.shape}, base rewards {base_rewards.shape}; expected (prompts, 2)"
        )
    gained = rewards - base_rewards
    shifts = gained[:, 1] - gained[:, 0]
    known = shifts[~np.isnan(shifts)]
    return float(known.mean()) if len(known) else None
