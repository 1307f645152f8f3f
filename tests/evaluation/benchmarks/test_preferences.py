"""AlpacaEval's win rates by hand."""

import math

import numpy as np
import pytest

from mutual_taught.evaluation.benchmarks.preferences import win_rate


def test_the_win_rate_is_the_mean_of_preference_less_one_in_percent() -> None:
    # wins .9, .2, .5, 1: mean .65; deviations .25, -.45, -.15, .35, squares sum to .41
    found = win_rate(np.array([1.9, 1.2, 1.5, 2.0]))
    assert found.win_rate == pytest.approx(65.0)
    # sd = sqrt(.41 / 3) = .369685; / sqrt(4)
    assert found.standard_error == pytest.approx(18.484228, abs=1e-6)
    assert (found.wins, found.losses, found.draws) == (2, 1, 1)


def test_the_discrete_win_rate_counts_a_draw_half_and_a_close_win_whole() -> None:
    # 1.51 is a win, 1.49 a loss, 1.5 a draw: (1 + 1/2) of 3
    assert win_rate(np.array([1.51, 1.49, 1.5])).discrete_win_rate == pytest.approx(50.0)
    assert win_rate(np.array([1.51, 1.6, 1.5])).discrete_win_rate == pytest.approx(250 / 3)


def test_a_model_against_itself_has_50_and_swapped_roles_have_the_rest() -> None:
    assert win_rate(np.full(7, 1.5))[:3] == (50.0, 0.0, 50.0)
    given = np.random.default_rng(1).uniform(1, 2, 40)
    there, back = win_rate(given), win_rate(3 - given)
    assert back.win_rate == pytest.approx(100 - there.win_rate)
    assert back.discrete_win_rate == pytest.approx(100 - there.discrete_win_rate)
    assert back.standard_error == pytest.approx(there.standard_error)


def test_what_was_not_judged_is_left_out_and_nothing_judged_is_nan() -> None:
    assert win_rate(np.array([2.0, np.nan, 1.0])).win_rate == 50.0
    assert all(math.isnan(value) for value in win_rate(np.array([np.nan]))[:3])
    assert math.isnan(win_rate(np.array([2.0])).standard_error)  # one value has no deviation
