"""The length-controlled win rate of AlpacaEval 2 (`length_controlled_v1`), on arrays."""

import warnings
from typing import NamedTuple

import numpy as np

from mutual_taught.method.arrays import Floats

GAMED_WEIGHT = 0.1  # of a row of the gamed baselines: 0.2 over two of them
FOLDS = 5
PENALTIES = np.logspace(-4, 4, 10)  # inverse strengths C, from which cross-validation chooses
SEED = 123
SMALLEST = 1e-15  # probability in a log-loss


class Rows(NamedTuple):
    """Comparisons with a baseline, shape (rows,) each.

    preference: in [0, 1], 1 where the model is preferred; NaN where the judge gave none. apart: by
    how many characters the baseline's answer is longer, over the standard deviation of that.
    difficulty: of the instruction.
    """

    preference: Floats
    apart: Floats
    difficulty: Floats


class Controlled(NamedTuple):
    """The win rate and its standard error, in percent, and the weights that were fitted."""

    win_rate: float
    standard_error: float
    length: float
    difficulty: float
    model: float


def apart(lengths: Floats, baseline_lengths: Floats) -> Floats:
    """Give by how much the baseline's answers are longer, over its standard deviation (ddof 1).

    Where all differ by the same, which has no deviation, it is 0: nothing can be told of length.

    Args:
        lengths: of the model's answers in characters, shape (prompts,).
        baseline_lengths: likewise.
    """
    difference = (baseline_lengths - lengths).astype(np.float64)
    spread = float(difference.std(ddof=1)) if len(difference) > 1 else 0.0
    return difference / spread if spread else np.zeros(len(difference))


def length_controlled(own: Rows, gamed: Rows) -> Controlled:
    """Give the win rate there would be if the model's answers were as long as the baseline's.

    logit P(preferred) = psi * tanh(apart) + phi * difficulty + theta is fitted by L1 logistic
    regression to the model's rows, with weight 1, and to those of two baselines that were asked to
    be brief and to be long, with weight 0.1 and without theta. A preference between 0 and 1 enters
    twice: as a win with its weight, as a loss with the rest. What is given is 100 times the mean
    of sigmoid(phi * difficulty + theta) over all prompts, judged or not.

    The strength of the penalty is chosen by 5-fold cross-validation on log-loss. Its folds, the
    order of liblinear's steps and where they stop follow AlpacaEval's, so that the number does.

    Args:
        own: the model's rows, in the order of the benchmark's prompts.
        gamed: those of the gamed baselines.

    Source: Dubois et al., 2024 (arXiv 2404.04475); tatsu-lab/alpaca_eval 0.6.6,
    metrics/glm_winrate.py.
    """
    columns = np.concatenate([_columns(gamed, 0.0), _columns(own, 1.0)])
    targets = np.concatenate([gamed.preference, own.preference])
    weights = np.repeat([GAMED_WEIGHT, 1.0], [len(gamed.preference), len(own.preference)])
    judged = ~np.isnan(targets)
    psi, phi, theta = _fit(columns[judged], targets[judged], weights[judged])
    expected = _sigmoid(phi * own.difficulty + theta)
    error = expected.std(ddof=1) / np.sqrt(len(expected)) if len(expected) > 1 else np.nan
    return Controlled(100 * float(expected.mean()), 100 * float(error), psi, phi, theta)


def _columns(rows: Rows, is_model: float) -> Floats:
    ones = np.full(len(rows.apart), is_model)
    return np.stack([np.tanh(rows.apart), rows.difficulty, ones], axis=1)


def _fit(columns: Floats, targets: Floats, weights: Floats) -> tuple[float, float, float]:
    """Choose the penalty by cross-validation, then fit all rows with it.

    Args:
        columns: shape (rows, 3).
        targets: in [0, 1], shape (rows,).
        weights: of each row in the fit and in the log-loss, shape (rows,).
    """
    from sklearn.model_selection import GroupKFold

    features = np.concatenate([columns, columns])
    labels = np.repeat([1, 0], len(targets))
    shares = np.concatenate([targets, 1 - targets])
    both, rows = np.concatenate([weights, weights]), np.tile(np.arange(len(targets)), 2)
    scores = np.zeros(len(PENALTIES))
    for inside, outside in GroupKFold(FOLDS).split(features, labels, rows):
        fits = _path(features[inside], labels[inside], (shares * both)[inside], PENALTIES)
        wins = np.concatenate([targets, targets])[outside]
        scores -= [_log_loss(features[outside] @ one, wins, both[outside]) for one in fits]
    chosen = PENALTIES[[int(scores.argmax())]]
    psi, phi, theta = _path(features, labels, shares * both, chosen)[0]
    return float(psi), float(phi), float(theta)


def _path(features: Floats, labels: Floats, weights: Floats, penalties: Floats) -> list[Floats]:
    """Fit once a penalty; one random state goes through all of them, as in scikit-learn's path."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    state, fits = np.random.RandomState(SEED), []
    for inverse in penalties:
        model = LogisticRegression(
            C=inverse, l1_ratio=1, solver="liblinear", fit_intercept=False, random_state=state
        )
        with warnings.catch_warnings():  # where it stops is part of the published number
            warnings.simplefilter("ignore", ConvergenceWarning)
            fits.append(model.fit(features, labels, sample_weight=weights).coef_[0])
    return fits


def _log_loss(logits: Floats, targets: Floats, weights: Floats) -> float:
    found = np.clip(_sigmoid(logits), SMALLEST, 1 - SMALLEST)
    losses = targets * np.log(found) + (1 - targets) * np.log(1 - found)
    return float(-(losses * weights).mean())


def _sigmoid(logits: Floats) -> Floats:
    return np.asarray(0.5 * (1 + np.tanh(logits / 2)))
