"""How likely a pseudo label is right, as a function of r_{t-1}'s margin."""

from typing import NamedTuple

import numpy as np

from mutual_taught.method.arrays import Bools, Floats

STEPS = 100  # of Newton's method, which takes about five
DIGITS = 6  # of what is written: the last ones may differ between machines
RIDGE = 1e-9  # keeps the slope at 0 where all margins are alike


class Calibration(NamedTuple):
    """P(the newer answer is better | margin) = sigmoid(offset + slope * margin).

    offset: in logits. slope: logits a logit of reward. low, high: the margins it was fitted on; one
    beyond them counts as the nearest. pairs: how many those were.
    """

    offset: float
    slope: float
    low: float
    high: float
    pairs: int


def fit(margins: Floats, better: Bools) -> Calibration:
    """Fit how likely the newer policy's answer is better, by logistic regression on the margin.

    The targets are not 1 and 0 but (n1 + 1) / (n1 + 2) and 1 / (n0 + 2), where n1 and n0 count the
    pairs whose newer answer is better and worse: so the fit is finite where a margin parts them
    perfectly, and modest where pairs are few. Where all margins are alike the slope is 0. Without
    any pair offset and slope are 0: nothing is known, and every accuracy is one half.

    Args:
        margins: r_{t-1} of the newer policy's answer less that of the older one's, shape (pairs,).
        better: whether the newer answer is the better one by an outside judge, shape (pairs,).

    Returns:
        The calibration; offset and slope to six decimals.

    Raises:
        ValueError: a margin is not finite.

    Source: ours here; Platt (1999), "Probabilistic outputs for support vector machines", section
    2.2 for the targets.
    """
    if not np.isfinite(margins).all():
        raise ValueError("margins must be finite")
    count = len(margins)
    if not count:
        return Calibration(0.0, 0.0, 0.0, 0.0, 0)
    ahead = int(better.sum())
    targets = np.where(better, (ahead + 1) / (ahead + 2), 1 / (count - ahead + 2))
    alike = margins.min() == margins.max()
    middle, width = float(margins.mean()), 1.0 if alike else float(margins.std())
    scaled = np.zeros(count) if alike else (margins - middle) / width
    offset, slope = _logistic(np.stack([np.ones(count), scaled], axis=1), targets)
    return Calibration(
        round(offset - slope * middle / width, DIGITS) + 0.0,
        round(slope / width, DIGITS) + 0.0,
        float(margins.min()),
        float(margins.max()),
        count,
    )


def accuracies(margins: Floats, calibration: Calibration) -> Floats:
    """Give how likely the newer answer is better at each margin.

    Args:
        margins: as in `fit`; NaN where there is none, shape (pairs,).
        calibration: of `fit`.

    Returns:
        Probabilities in (0, 1), to six decimals; NaN likewise. Same shape.
    """
    inside = np.clip(margins, calibration.low, calibration.high)
    return np.asarray(np.round(_sigmoid(calibration.offset + calibration.slope * inside), DIGITS))


def _logistic(columns: Floats, targets: Floats) -> tuple[float, float]:
    """Minimise the cross-entropy by Newton's method; a step that would raise it is halved.

    Args:
        columns: ones and scaled margins, shape (pairs, 2).
        targets: in (0, 1), shape (pairs,).

    Returns:
        The weights of both columns.
    """
    weights, loss = np.zeros(2), _cross_entropy(np.zeros(2), columns, targets)
    for _ in range(STEPS):
        found = _sigmoid(columns @ weights)
        gradient = columns.T @ (found - targets)
        curvature = (columns.T * (found * (1 - found))) @ columns + RIDGE * np.eye(2)
        step = np.linalg.solve(curvature, gradient)
        while (after := _cross_entropy(weights - step, columns, targets)) > loss:
            step = step / 2
            if np.abs(step).max() < 1e-12:
                return float(weights[0]), float(weights[1])
        weights, loss = weights - step, after
        if np.abs(step).max() < 1e-10:
            break
    return float(weights[0]), float(weights[1])


def _cross_entropy(weights: Floats, columns: Floats, targets: Floats) -> float:
    logits = columns @ weights
    return float((np.logaddexp(0, logits) - targets * logits).sum())


def _sigmoid(logits: Floats) -> Floats:
    small = np.exp(-np.abs(logits))
    return np.asarray(np.where(logits < 0, small, 1.0) / (1 + small))
