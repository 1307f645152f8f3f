"""Rewards without what length brings, worked by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mutual_taught.method.length import length_neutral, length_slope
from mutual_taught.method.ranked_pairs import rank_pairs

NONE = np.nan
# Distances from the prompts' means: lengths -1, 1 and -2, 2; rewards -1, 1 and 0, 0. So the slope
# is (1 + 1 + 0 + 0) / (1 + 1 + 4 + 4) = 0.2 logits a token.
LENGTHS = np.array([[1, 3], [10, 14]])
REWARDS = np.array([[0.0, 2.0], [5.0, 5.0]])


def test_slope_is_that_of_responses_to_the_same_prompt() -> None:
    assert length_slope(REWARDS, LENGTHS) == 0.2


def test_prompts_whose_responses_are_all_long_and_all_good_say_nothing_of_length() -> None:
    levels = np.array([[0.0], [100.0]])
    assert length_slope(REWARDS + levels, LENGTHS + levels.astype(int)) == 0.2


@given(st.integers(0, 10_000), st.integers(1, 6), st.integers(2, 5))
def test_slope_is_that_of_a_regression_with_a_level_for_every_prompt(
    seed: int, prompts: int, width: int
) -> None:
    random = np.random.default_rng(seed)
    lengths = random.integers(1, 50, (prompts, width))
    lengths[0, :2] = 3, 4  # two lengths somewhere
    rewards = random.normal(size=lengths.shape) + 0.1 * lengths
    levels = np.repeat(np.eye(prompts), width, axis=0)
    fitted = np.linalg.lstsq(np.column_stack([lengths.ravel(), levels]), rewards.ravel())[0]
    slope = length_slope(rewards, lengths)
    assert slope == pytest.approx(fitted[0], abs=1e-9)
    left = length_neutral(rewards, lengths, slope)
    assert length_slope(left, lengths) == pytest.approx(0.0, abs=1e-8)


def test_what_a_response_has_above_the_mean_length_is_taken_from_its_reward() -> None:
    # 0.2 times -1, 1, -2, 2
    assert length_neutral(REWARDS, LENGTHS, 0.2).tolist() == [[0.2, 1.8], [5.4, 4.6]]


def test_mean_reward_of_a_prompt_stays() -> None:
    neutral = length_neutral(REWARDS, LENGTHS, 0.2)
    assert neutral.mean(axis=1).tolist() == pytest.approx([1.0, 5.0])


def test_response_without_a_reward_counts_for_neither_slope_nor_mean() -> None:
    rewards = np.column_stack([REWARDS, [NONE, NONE]])
    lengths = np.column_stack([LENGTHS, [900, 1]])
    assert length_slope(rewards, lengths) == 0.2
    expected = [[0.2, 1.8, NONE], [5.4, 4.6, NONE]]
    np.testing.assert_equal(length_neutral(rewards, lengths, 0.2), expected)


@pytest.mark.parametrize("rewards", [REWARDS, np.full((2, 2), NONE)])
def test_without_two_lengths_at_any_prompt_the_slope_is_0(rewards: np.ndarray) -> None:
    assert length_slope(rewards, np.array([[7, 7], [9, 9]])) == 0.0
    assert length_slope(np.full((2, 2), NONE), LENGTHS) == 0.0


def test_rewards_that_length_explains_whole_are_alike() -> None:
    # 0.1 and 0.3, 0.7 and 1.1: 0.2 a token; in floats what is left differs by rounding
    rewards, lengths = np.array([[0.1, 0.3], [0.7, 1.1]]), np.array([[1, 2], [3, 5]])
    slope = length_slope(rewards, lengths)
    assert slope == pytest.approx(0.2)
    neutral = length_neutral(rewards, lengths, slope)
    assert neutral.tolist() == [[0.2, 0.2], [0.9, 0.9]]
    assert rank_pairs(neutral, lengths, lengths, "highest").chosen.tolist() == [-1, -1]


def test_rewards_that_are_no_numbers_or_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match="infinite"):
        length_slope(np.array([[np.inf, 0.0]]), np.array([[1, 2]]))
    with pytest.raises(ValueError, match=r"^shapes differ: "):
        length_slope(REWARDS, LENGTHS[:1])
