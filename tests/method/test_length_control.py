"""The minimal form of the length-controlled win rate, against what can be solved by hand."""

import math

import numpy as np
import pytest

from mutual_taught.method.arrays import Floats, Ints
from mutual_taught.method.length_control import lc_minimal


def duels(*groups: tuple[int, float, int]) -> tuple[Floats, Ints, Ints]:
    """Lay out groups of duels: by how much the responses are longer, share won, how many."""
    longer = np.concatenate([np.full(count, gap) for gap, _, count in groups])
    won = [np.arange(count) < round(share * count) for _, share, count in groups]
    return np.concatenate(won).astype(np.float64), 100 + longer, np.full(len(longer), 100)


def test_win_rate_that_follows_length_only_is_one_half_when_length_is_controlled() -> None:
    # longer ones win three of four, shorter ones one of four: at equal length one of two
    assert lc_minimal(*duels((10, 0.75, 40), (-10, 0.25, 40))) == 0.5


def test_two_lengths_can_be_solved_by_hand() -> None:
    # d is -10 and 10, as often: logit 0.9 = theta - psi a, logit 0.5 = theta + psi a,
    # so theta is half of logit 0.9 = log 9 / 2 = log 3, and sigmoid(log 3) = 3 / 4
    found = lc_minimal(*duels((10, 0.9, 1000), (-10, 0.5, 1000)))
    assert found == pytest.approx(0.75, abs=1e-4)


def test_longer_responses_lower_the_controlled_win_rate_where_the_judge_likes_length() -> None:
    outcomes, lengths, others = duels((30, 0.9, 50), (5, 0.6, 50))
    assert lc_minimal(outcomes, lengths, others) < 0.6 < outcomes.mean()


def test_roles_swapped_give_the_rest_to_one() -> None:
    outcomes, lengths, others = duels((30, 0.9, 50), (-5, 0.3, 50), (12, 0.5, 8))
    swapped = lc_minimal(1 - outcomes, others, lengths)
    assert swapped == pytest.approx(1 - lc_minimal(outcomes, lengths, others), abs=1e-6)


def test_win_rate_that_does_not_depend_on_length_stays_as_it_is() -> None:
    found = lc_minimal(*duels((20, 0.7, 100), (0, 0.7, 100), (-20, 0.7, 100)))
    assert found == pytest.approx(0.7, abs=1e-4)


def test_ties_count_as_half() -> None:
    lengths = np.array([9, 1, 5, 5])
    assert lc_minimal(np.full(4, 0.5), lengths, np.full(4, 5)) == 0.5


def test_equal_gaps_leave_nothing_to_control() -> None:
    assert lc_minimal(*duels((7, 0.75, 4))) == 0.75
    assert lc_minimal(np.array([1.0]), np.array([3]), np.array([9])) == 1.0


def test_side_that_always_wins_comes_out_finite_and_near_one() -> None:
    found = lc_minimal(*duels((10, 1.0, 50), (-10, 1.0, 50)))
    assert 0.999 < found < 1


def test_without_duels_there_is_no_number() -> None:
    none = np.array([], np.int64)
    assert math.isnan(lc_minimal(np.array([]), none, none))
