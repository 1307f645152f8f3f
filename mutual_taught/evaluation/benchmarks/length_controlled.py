"""The length-controlled win rate of AlpacaEval 2 (`length_controlled_v1`), on arrays."""

import importlib.util
import warnings
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mutual_taught.errors import InputError
from mutual_taught.method.arrays import Floats

GAMED_WEIGHT = 0.1  # of a row of the gamed baselines: 0.2 over two of them
FOLDS = 5
PENALTIES = np.logspace(-4, 4, 10)  # inverse strengths C, from which cross-validation chooses
SEED = 123
DRAWS = 200  # fits of an interval
SMALLEST = 1e-15  # probability in a log-loss


def require_solver() -> None:
    """Refuse length control where scikit-learn, an extra, is not installed.

    Raises:
        InputError: it is not.
    """
    if importlib.util.find_spec("sklearn") is None:
        raise InputError(
            "length control needs scikit-learn, which is not installed; expected the extra "
            "alpaca-eval; pip install -c constraints.txt -e '.[alpaca-eval]', or leave out the "
            ".csv files: then there is lc_minimal"
        )


class Rows(NamedTuple):
    """Comparisons with a baseline, shape (rows,) each.

    preference: in [0, 1], 1 where the model is preferred; NaN where the judge gave none. apart: by
    how many characters the baseline's response is longer, over the standard deviation of that.
    difficulty: of the instruction.
    """

    preference: Floats
    apart: Floats
    difficulty: Floats


class Controlled(NamedTuple):
    """The win rate and its standard error, in percent; the penalty chosen, the weights fitted.

    The standard error is AlpacaEval's: of the mean of what is expected of each prompt, as if the
    weights were known. `interval` has what they add.
    """

    win_rate: float
    standard_error: float
    penalty: float
    length: float
    difficulty: float
    model: float


def apart(lengths: Floats, baseline_lengths: Floats) -> Floats:
    """Give by how much the baseline's responses are longer, over its standard deviation (ddof 1).

    Where all differ by the same, which has no deviation, it is 0: nothing can be told of length.

    Args:
        lengths: of the model's responses in characters, shape (prompts,).
        baseline_lengths: likewise.
    """
    difference = (baseline_lengths - lengths).astype(np.float64)
    spread = float(difference.std(ddof=1)) if len(difference) > 1 else 0.0
    return difference / spread if spread else np.zeros(len(difference))


def length_controlled(own: Rows, gamed: Rows) -> Controlled:
    """Give the win rate there would be if the model's responses were as long as the baseline's.

    logit P(preferred) = psi * tanh(apart) + phi * difficulty + theta is fitted by L1 logistic
    regression to the model's rows, with weight 1, and to those of two baselines that were asked to
    be brief and to be long, with weight 0.1 and without theta. A preference between 0 and 1 enters
    twice: as a win with its weight, as a loss with the rest. What is given is 100 times the mean
    of sigmoid(phi * difficulty + theta) over all prompts, judged or not.

    The strength of the penalty is chosen by 5-fold cross-validation on log-loss. Its folds, the
    order of liblinear's steps and where they stop follow AlpacaEval's, so that the number does.

    Args:
        own: the model's rows, in the order of the benchmark's prompts.
        gamed: those of the gamed baselines. With them at least `FOLDS` rows have a preference.

    Source: Dubois et al., 2024 (arXiv 2404.04475); tatsu-lab/alpaca_eval 0.6.6,
    metrics/glm_winrate.py.
    """
    rows = _rows(own, gamed)
    penalty = _chosen(rows)
    weights = _path(_doubled(rows), np.array([penalty]))[0]
    expected = _expected(weights, own.difficulty)
    error = expected.std(ddof=1) / np.sqrt(len(expected)) if len(expected) > 1 else np.nan
    return Controlled(
        100 * float(expected.mean()), 100 * float(error), penalty, *map(float, weights)
    )


def interval(own: Rows, gamed: Rows, penalty: float, seed: int) -> tuple[float, float]:
    """Give a 95 % percentile interval of the win rate: prompts resampled, weights fitted again.

    The penalty stays the chosen one, and so do the gamed rows.
    """
    rng, count = np.random.default_rng(seed), len(own.difficulty)
    means = np.empty(DRAWS)
    for draw in range(DRAWS):
        drawn = rng.integers(0, count, count)
        rows = Rows(*(column[drawn] for column in own))
        weights = _path(_doubled(_rows(rows, gamed)), np.array([penalty]))[0]
        means[draw] = 100 * _expected(weights, rows.difficulty).mean()
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


class Weighted(NamedTuple):
    """Rows of a fit: columns of shape (rows, 3), targets in [0, 1] and weights, shape (rows,)."""

    columns: Floats
    targets: Floats
    weights: Floats


class Doubled(NamedTuple):
    """Every row as a win and as a loss: features, labels, and weights of both, (2 rows,)."""

    features: Floats
    labels: NDArray[np.int64]
    weights: Floats


def _rows(own: Rows, gamed: Rows) -> Weighted:
    columns = np.concatenate([_columns(gamed, 0.0), _columns(own, 1.0)])
    targets = np.concatenate([gamed.preference, own.preference])
    weights = np.repeat([GAMED_WEIGHT, 1.0], [len(gamed.preference), len(own.preference)])
    judged = ~np.isnan(targets)
    return Weighted(columns[judged], targets[judged], weights[judged])


def _columns(rows: Rows, is_model: float) -> Floats:
    ones = np.full(len(rows.apart), is_model)
    return np.stack([np.tanh(rows.apart), rows.difficulty, ones], axis=1)


def _doubled(rows: Weighted) -> Doubled:
    shares = np.concatenate([rows.targets, 1 - rows.targets])
    return Doubled(
        np.concatenate([rows.columns, rows.columns]),
        np.repeat([1, 0], len(rows.targets)),
        shares * np.concatenate([rows.weights, rows.weights]),
    )


def _chosen(rows: Weighted) -> float:
    """Choose the penalty of the least log-loss on the rows that a fit has not seen."""
    from sklearn.model_selection import GroupKFold

    both, names = _doubled(rows), np.tile(np.arange(len(rows.targets)), 2)
    targets, weights = np.tile(rows.targets, 2), np.tile(rows.weights, 2)
    losses = np.zeros(len(PENALTIES))
    for inside, outside in GroupKFold(FOLDS).split(both.features, both.labels, names):
        fits = _path(Doubled(*(column[inside] for column in both)), PENALTIES)
        unseen = both.features[outside]
        losses += [_log_loss(unseen @ one, targets[outside], weights[outside]) for one in fits]
    return float(PENALTIES[int(losses.argmin())])


def _expected(weights: Floats, difficulty: Floats) -> Floats:
    """Give the chance of a win at no difference in length, shape (prompts,)."""
    return _sigmoid(weights[1] * difficulty + weights[2])


def _path(rows: Doubled, penalties: Floats) -> list[Floats]:
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
            fits.append(model.fit(*rows[:2], sample_weight=rows.weights).coef_[0])
    return fits


def _log_loss(logits: Floats, targets: Floats, weights: Floats) -> float:
    found = np.clip(_sigmoid(logits), SMALLEST, 1 - SMALLEST)
    losses = targets * np.log(found) + (1 - targets) * np.log(1 - found)
    return float(-(losses * weights).mean())


def _sigmoid(logits: Floats) -> Floats:
    return np.asarray(0.5 * (1 + np.tanh(logits / 2)))
