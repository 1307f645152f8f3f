"""The win rate there would be if both sides' responses were equally long."""

import numpy as np

from mutual_taught.method.arrays import Floats, Ints

RIDGE = 1e-3  # keeps the fit finite where one side always wins
STEPS = 100  # of Newton's method, which takes about ten
DIGITS = 6  # of what is given: the last ones may differ between machines


def lc_minimal(outcomes: Floats, lengths: Ints, other_lengths: Ints) -> float:
    """Give the minimal form of the length-controlled win rate, `lc_minimal`.

    A logistic regression explains the outcomes by two numbers: logit P(win) = theta + psi * tanh(d
    / sd). d is by how much the other side's response is longer, sd its standard deviation (ddof 1).
    A tie is half a win and half a loss. What is given is sigmoid(theta): the win rate at d = 0.
    Where all d are alike there is nothing to control, and it is the plain win rate.

    It is not AlpacaEval's: that has a difficulty of each instruction and two sets of gamed
    responses, too, and chooses an L1 penalty by cross-validation. Here a ridge of 0.001 keeps it
    finite.

    Args:
        outcomes: 1 where this side wins, 0.5 at a tie, else 0, shape (duels,).
        lengths: of this side's responses in characters, shape (duels,).
        other_lengths: of the other side's, same shape.

    Returns:
        A share, to six decimals; NaN without any duel.

    Source: Dubois et al., 2024 (arXiv 2404.04475), the model's terms of policy and length.
    """
    if not outcomes.size:
        return float("nan")
    apart = (other_lengths - lengths).astype(np.float64)
    spread = float(apart.std(ddof=1)) if len(apart) > 1 else 0.0
    if not spread:
        return round(float(outcomes.mean()), DIGITS)
    columns = np.stack([np.ones(len(apart)), np.tanh(apart / spread)], axis=1)
    return round(float(_sigmoid(_fit(columns, outcomes)[0])), DIGITS)


def _fit(columns: Floats, outcomes: Floats) -> Floats:
    """Minimise cross-entropy and ridge by Newton's method; a step that would raise it is halved.

    Args:
        columns: shape (duels, 2).
        outcomes: between 0 and 1, shape (duels,).

    Returns:
        The weight of each column.
    """
    weights = np.zeros(columns.shape[1])
    for _ in range(STEPS):
        found = _sigmoid(columns @ weights)
        gradient = columns.T @ (found - outcomes) + RIDGE * weights
        curvature = (columns.T * (found * (1 - found))) @ columns + RIDGE * np.eye(len(weights))
        step = np.linalg.solve(curvature, gradient)
        before = _loss(weights, columns, outcomes)
        while _loss(weights - step, columns, outcomes) > before and np.abs(step).max() > 1e-12:
            step = step / 2
        weights = weights - step
        if np.abs(step).max() < 1e-10:
            break
    return weights


def _loss(weights: Floats, columns: Floats, outcomes: Floats) -> float:
    logits = columns @ weights
    entropy = np.logaddexp(0, logits) - outcomes * logits
    return float(entropy.sum() + RIDGE / 2 * weights @ weights)


def _sigmoid(logits: Floats) -> Floats:
    return np.asarray(0.5 * (1 + np.tanh(logits / 2)))
