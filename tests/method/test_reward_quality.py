"""Calibration and length in a reward model's numbers, by hand."""

import math

import numpy as np
import pytest

from mutual_taught.method.reward_quality import calibration_error, spearman


def logit(share: float) -> float:
    return math.log(share / (1 - share))


def test_margins_that_say_how_often_they_are_right_have_no_calibration_error() -> None:
    # four of five right at confidence 0.8: both signs of the same margin
    margin = logit(0.8)
    assert calibration_error(np.array([margin] * 4 + [-margin])) == pytest.approx(0.0)


def test_calibration_error_is_the_mean_gap_of_bins_by_their_pairs() -> None:
    sure, surest = logit(0.92), logit(0.97)
    # the bin from 0.90 has two pairs of confidence 0.92, one of them right: gap |1/2 - 0.92|;
    # the bin from 0.95 has one of 0.97, right: gap |1 - 0.97|
    found = calibration_error(np.array([sure, -sure, surest]))
    assert found == pytest.approx((2 * 0.42 + 0.03) / 3)


def test_gaps_within_one_bin_cancel() -> None:
    # 0.91 right and 0.94 wrong share the bin from 0.9 to 0.95: |1 - (0.91 + 0.94)| / 2
    margins = np.array([logit(0.91), -logit(0.94)])
    assert calibration_error(margins) == pytest.approx(0.85 / 2)


def test_tie_is_a_wrong_pair_of_confidence_one_half() -> None:
    assert calibration_error(np.zeros(3)) == 0.5


def test_huge_margin_is_in_the_last_bin() -> None:
    assert calibration_error(np.array([1e4, -1e4])) == pytest.approx(0.5)


def test_pair_without_a_reward_is_in_no_bin() -> None:
    assert calibration_error(np.array([logit(0.8), np.nan])) == pytest.approx(0.2)
    assert math.isnan(calibration_error(np.array([np.nan])))


def test_spearman_is_one_for_the_same_order_and_minus_one_for_the_opposite() -> None:
    rewards = np.array([0.1, 5.0, -3.0])
    assert spearman(rewards, np.array([20, 300, 10])) == pytest.approx(1.0)
    assert spearman(rewards, np.array([20, 1, 40])) == pytest.approx(-1.0)


def test_spearman_follows_from_the_squared_differences_of_ranks() -> None:
    # ranks 0 1 2 3 and 1 0 2 3: 1 - 6 * 2 / (4 * 15)
    found = spearman(np.array([1.0, 2, 3, 4]), np.array([6, 5, 7, 8]))
    assert found == pytest.approx(0.8)


def test_equal_values_share_the_mean_of_their_ranks() -> None:
    # ranks 0 1.5 1.5 3 against 0 1 2 3: products of what is off 1.5: 2.25 + 0 + 0 + 2.25, roots
    # of 4.5 and of 5
    found = spearman(np.array([1.0, 2, 2, 3]), np.array([1, 2, 3, 4]))
    assert found == pytest.approx(4.5 / math.sqrt(4.5 * 5))


def test_spearman_leaves_out_what_has_no_reward() -> None:
    rewards = np.array([1.0, np.nan, 3.0, 2.0])
    assert spearman(rewards, np.array([1, 99, 3, 2])) == pytest.approx(1.0)


@pytest.mark.parametrize("rewards", [[], [1.0], [2.0, 2.0], [np.nan, np.nan]])
def test_spearman_of_what_is_all_alike_is_no_number(rewards: list[float]) -> None:
    assert math.isnan(spearman(np.array(rewards), np.arange(len(rewards))))
