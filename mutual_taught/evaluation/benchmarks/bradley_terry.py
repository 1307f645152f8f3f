"""Scores of Arena-Hard from its verdicts, and control of style by Bradley-Terry; on arrays."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mutual_taught.method.arrays import Floats

RIDGE = 1e-6  # keeps the fit finite where a model always wins
STEPS = 50  # of Newton's method, which takes about ten
STRONG = 3  # what `>>` weighs against `>`
# What a verdict says of A: 1 where A is better, and its weight.
VERDICTS = {
    "A>>B": (1.0, STRONG),
    "A>B": (1.0, 1),
    "A=B": (0.5, 1),
    "B=A": (0.5, 1),
    "A<B": (0.0, 1),
    "B>A": (0.0, 1),
    "A<<B": (0.0, STRONG),
    "B>>A": (0.0, STRONG),
    "B<A": (1.0, 1),
    "B<<A": (1.0, STRONG),
}
Numbers = NDArray[np.int64]


class Won(NamedTuple):
    """What two games say of a model: how much of their weight it wins, and the weight."""

    wins: float
    weight: int


def won(first: str, second: str) -> Won:
    """Give what a model wins in two games: as B in the first one, as A in the second.

    A strong verdict counts three times, a tie half.

    Args:
        first: verdict where A is the baseline, one of `VERDICTS`.
        second: verdict where A is the model.

    Source: lmarena/arena-hard-auto, show_result.py.
    """
    (lost, left), (gained, right) = VERDICTS[first], VERDICTS[second]
    return Won((1 - lost) * left + gained * right, left + right)


def consistent(first: str, second: str) -> bool:
    """Tell whether both games prefer the same side, or both none."""
    return VERDICTS[first][0] == 1 - VERDICTS[second][0]


class Battles(NamedTuple):
    """Every model's two games on every prompt, shape (battles,) each.

    share: of the weight that the model wins, in [0, 1]. weight: of both games. model: its number.
    prompt: its number, by which battles are resampled. style: what sets the model's response apart
    from the baseline's, shape (battles, features).
    """

    share: Floats
    weight: Floats
    model: Numbers
    prompt: Numbers
    style: Floats


def style(counts: Floats, baseline: Floats) -> Floats:
    """Give what sets responses apart from the baseline's in length and marks, in [-1, 1].

    Length: the difference over the sum; 0 where both are empty. Marks: densities, a count over
    tokens + 1; their difference over their sum + 1.

    Args:
        counts: tokens, headers, list items and bold texts of the responses, shape (battles, 4).
        baseline: those of the baseline's.

    Source: lmarena/arena-hard-auto, show_result.py.
    """
    both = counts[:, :1] + baseline[:, :1]
    length = np.divide(counts[:, :1] - baseline[:, :1], both, np.zeros(both.shape), where=both > 0)
    own, other = (marks[:, 1:] / (marks[:, :1] + 1) for marks in (counts, baseline))
    return np.concatenate([length, (own - other) / (own + other + 1)], axis=1)


def standardised(features: Floats, weight: Floats) -> Floats:
    """Centre features and divide them by their deviation (ddof 1), each row counted `weight` times.

    A feature that is the same in all battles is 0.
    """
    mean = np.average(features, axis=0, weights=weight)
    apart: Floats = features - mean
    spread = np.sqrt((weight[:, None] * apart**2).sum(axis=0) / max(weight.sum() - 1, 1))
    return np.asarray(np.divide(apart, spread, np.zeros(apart.shape), where=spread > 0))


def controlled(battles: Battles, models: int, start: Floats | None = None) -> Floats:
    """Fit strengths of models and weights of style; the baseline's strength is 0.

    P(model wins) = sigmoid(strength + style . weights), by maximum likelihood over the weighted
    games of all models. A model's score is sigmoid(strength): what it would win if its style were
    as far from the baseline's as all models' are on average.

    Args:
        battles: of at least two models; of one alone, its own style would be the average.
        models: how many there are.
        start: of the search, shape (models + features,).

    Returns:
        Strengths, then the weights of style; shape (models + features,).
    """
    share, weight, model, _, features = battles
    found = np.zeros(models + features.shape[1]) if start is None else start
    for _ in range(STEPS):
        expected = _sigmoid(found[model] + features @ found[models:])
        error, curve = weight * (expected - share), weight * expected * (1 - expected)
        sums = np.bincount(model, error, models)
        gradient = np.concatenate([sums, features.T @ error]) + RIDGE * found
        step = np.linalg.solve(_curvature(curve, model, features, models), gradient)
        found = found - np.clip(step, -2, 2)  # a longer one could overshoot
        if np.abs(step).max() < 1e-10:
            break
    return found


def _curvature(curve: Floats, model: Numbers, features: Floats, models: int) -> Floats:
    """Give the second derivatives: strengths do not meet, but each meets every style."""
    mixed = np.stack([np.bincount(model, curve * one, models) for one in features.T], axis=1)
    own = np.diag(np.bincount(model, curve, models))
    inner = (features.T * curve) @ features
    whole = np.block([[own, mixed], [mixed.T, inner]])
    return np.asarray(whole + RIDGE * np.eye(len(whole)))


def score(strength: Floats) -> Floats:
    """Give what models of a strength win against the baseline, in percent."""
    return np.asarray(100 * _sigmoid(strength))


def resampled(battles: Battles, models: int, draws: int, seed: int) -> Floats:
    """Fit again on resampled prompts, all battles on one prompt drawn together.

    Returns:
        Strengths of the models, shape (draws, models).
    """
    rng = np.random.default_rng(seed)
    whole = controlled(battles, models)
    names = np.unique(battles.prompt, return_inverse=True)[1]
    count, strengths = int(names.max()) + 1, np.empty((draws, models))
    for draw in range(draws):
        times = np.bincount(rng.integers(0, count, count), minlength=count)[names]
        drawn = battles._replace(weight=battles.weight * times)
        strengths[draw] = controlled(drawn, models, whole)[:models]
    return strengths


def _sigmoid(logits: Floats) -> Floats:
    return np.asarray(0.5 * (1 + np.tanh(logits / 2)))
