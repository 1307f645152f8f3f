"""Win rates of AlpacaEval, from what its judge prefers; on arrays."""

from typing import NamedTuple

import numpy as np

from mutual_taught.method.arrays import Floats


class WinRate(NamedTuple):
    """How often a judge prefers a model: rates and error in percent, counts of prompts."""

    win_rate: float
    standard_error: float
    discrete_win_rate: float
    wins: int
    losses: int
    draws: int


def win_rate(preferences: Floats) -> WinRate:
    """Give AlpacaEval's win rates of a model over its baseline.

    The win rate is 100 times the mean of preference - 1, its standard error 100 * sd (ddof 1) /
    sqrt(n). The discrete one rounds each preference to a win or a loss first, and a draw, which is
    exactly 1.5, counts half.

    Args:
        preferences: between 1, where the baseline is preferred, and 2, where the model is; shape
            (prompts,). NaN where the judge gave none: left out.

    Returns:
        NaN for what is over no prompt; a standard error needs two.

    Source: tatsu-lab/alpaca_eval 0.6.6, metrics/helpers.py.
    """
    wins = preferences[~np.isnan(preferences)] - 1
    count = len(wins)
    if not count:
        return WinRate(np.nan, np.nan, np.nan, 0, 0, 0)
    better, worse = int((wins > 0.5).sum()), int((wins < 0.5).sum())
    draws = count - better - worse
    error = 100 * wins.std(ddof=1) / np.sqrt(count) if count > 1 else np.nan
    discrete = 100 * (better + draws / 2) / count
    return WinRate(100 * float(wins.mean()), float(error), discrete, better, worse, draws)
