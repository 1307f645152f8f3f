"""What follows from a judge's games, two to a comparison, each response first once."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mutual_taught.method.statistics import Floats, bootstrap, sign_flip_p

TIE = 0.5


class Games(NamedTuple):
    """Games of one system against another.

    preferred: how far its response is preferred, in [0, 1], NaN for no verdict, shape (comparisons,
    2): it is shown first, then second. weights: battles each counts as, same shape. prompts: the
    prompt of each comparison, shape (comparisons,).
    """

    preferred: Floats
    weights: NDArray[np.int64]
    prompts: NDArray[np.int64]


def win_rate(games: Games, seed: int) -> dict[str, float]:
    """Give the win rate, and how far the judge can be believed.

    A comparison without both verdicts is left out, because what is left of it would favour a
    place. The win rate is the mean over battles; where all count once, that is the mean over
    comparisons of what both orders say. Intervals resample prompts with all that is theirs.

    Args:
        games: of all comparisons.
        seed: of the bootstrap and of the sign flips.

    Returns:
        `mean`, `ci_lo`, `ci_hi`, `n` (prompts with a comparison that counts) and `ties` (those of
        them that are worth exactly one half); `p`, two-sided, of no difference; `comparisons`,
        `failures` (those that are left out); `consistency`, the share of comparisons whose two
        orders name the same side, a tie being a side of its own; and `first`, how far what is shown
        first is preferred, 0.5 for a judge without a bent. NaN where nothing counts.

    Source: ours; both orders and weights as Arena-Hard-Auto (arXiv 2406.11939) has them.
    """
    whole = ~np.isnan(games.preferred).any(1)
    preferred, weights = games.preferred[whole], games.weights[whole]
    prompts = games.prompts[whole]
    counts = weights.ravel()
    battles = np.repeat(preferred.ravel(), counts)
    interval = bootstrap(battles, seed, np.repeat(np.repeat(prompts, 2), counts))
    per_prompt = _means((preferred * weights).sum(1), weights.sum(1), prompts)
    return {
        **{name: float(value) for name, value in interval._asdict().items()},
        "ties": float(np.isclose(per_prompt, TIE, rtol=0, atol=1e-12).sum()),
        "p": sign_flip_p(per_prompt - TIE, seed),
        "comparisons": float(len(games.prompts)),
        "failures": float((~whole).sum()),
        "consistency": _mean(np.sign(preferred[:, 0] - TIE) == np.sign(preferred[:, 1] - TIE)),
        "first": _mean((preferred[:, 0] + 1 - preferred[:, 1]) / 2),
    }


def _means(sums: Floats, counts: NDArray[np.int64], prompts: NDArray[np.int64]) -> Floats:
    """Give each prompt's mean over its battles."""
    place = np.unique(prompts, return_inverse=True)[1]
    return np.bincount(place, sums) / np.bincount(place, counts)


def _mean(values: NDArray[np.generic]) -> float:
    return float(values.mean()) if values.size else float("nan")
