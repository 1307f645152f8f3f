"""Length control: what it must do; that it is AlpacaEval's, `make test-alpaca` shows."""

import numpy as np
import pytest

from mutual_taught.evaluation.benchmarks.length_controlled import (
    Rows,
    interval,
    length_controlled,
)

COUNT = 60


def rows(seed: int, length: float, skill: float) -> Rows:
    """Draw preferences that follow length and skill."""
    rng = np.random.default_rng(seed)
    gap, hard = rng.normal(size=COUNT), rng.normal(size=COUNT)
    chance = 1 / (1 + np.exp(-(skill + length * np.tanh(gap) + 0.5 * hard)))
    return Rows(chance, gap, hard)


def gamed(length: float) -> Rows:
    """Draw rows of two baselines that follow length alike."""
    pairs = zip(rows(8, length, 0), rows(9, length, 0), strict=True)
    return Rows(*(np.concatenate(pair) for pair in pairs))


def test_weights_that_made_the_preferences_are_found_again() -> None:
    found = length_controlled(rows(1, -2.0, 0.7), gamed(-2.0))
    # nearly: the chosen L1 penalty shrinks them a little, and liblinear stops early
    assert found.length == pytest.approx(-2.0, abs=0.02)
    assert found.difficulty == pytest.approx(0.5, abs=0.02)
    assert found.model == pytest.approx(0.7, abs=0.02)


def test_the_win_rate_is_the_mean_at_no_difference_in_length() -> None:
    own = rows(1, -2.0, 0.7)
    found = length_controlled(own, gamed(-1.0))
    logits = found.model + found.difficulty * own.difficulty
    expected = 100 / (1 + np.exp(-logits))
    assert found.win_rate == pytest.approx(expected.mean())
    assert found.standard_error == pytest.approx(expected.std(ddof=1) / np.sqrt(COUNT))


def test_a_model_that_wins_by_length_alone_is_brought_back_to_half() -> None:
    gap, hard = rows(3, 0, 0).apart - 1, rows(3, 0, 0).difficulty  # mostly the longer one
    own = Rows(1 / (1 + np.exp(3 * np.tanh(gap) - 0.5 * (hard - hard.mean()))), gap, hard)
    assert 100 * own.preference.mean() > 75
    assert length_controlled(own, gamed(-3.0)).win_rate == pytest.approx(50, abs=3)


def test_rows_without_a_preference_train_nothing_and_are_in_the_mean() -> None:
    own = rows(4, -1.0, 0.2)
    blank = own._replace(preference=np.where(np.arange(COUNT) < 5, np.nan, own.preference))
    fewer = Rows(*(column[5:] for column in own))
    with_blank, without = length_controlled(blank, gamed(-1)), length_controlled(fewer, gamed(-1))
    assert with_blank.model == without.model  # the same fit
    assert with_blank.win_rate != without.win_rate


def test_the_interval_is_around_the_win_rate_and_the_same_every_time() -> None:
    own = rows(1, -2.0, 0.7)
    won = own.preference > np.random.default_rng(5).random(COUNT)
    noisy = own._replace(preference=won.astype(np.float64))
    found = length_controlled(noisy, gamed(-1.0))
    low, high = interval(noisy, gamed(-1.0), found.penalty, 1)
    # 60 wins or losses at 65 %: a standard error of about 6, so some 24 from end to end
    assert low < found.win_rate < high
    assert 12 < high - low < 40
    assert interval(noisy, gamed(-1.0), found.penalty, 1) == (low, high)
