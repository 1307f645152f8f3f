"""How far a reward model favours the answers it was trained on, worked by hand."""

import numpy as np
import pytest

from mutual_taught.method.reuse import reuse_shift

NONE = np.nan


def test_what_r_gains_on_previous_answers_above_new_ones_is_the_shift() -> None:
    # gained on y_t: 2 - 1 = 1 and 0 - 1 = -1; on y_{t-1}: 4 - 1 = 3 and 1 - 0.5 = 0.5
    rewards = np.array([[2.0, 4.0], [0.0, 1.0]])
    base = np.array([[1.0, 1.0], [1.0, 0.5]])
    assert reuse_shift(rewards, base) == (2.0 + 1.5) / 2


def test_the_same_reward_model_has_no_shift() -> None:
    rewards = np.random.default_rng(1).normal(size=(5, 2))
    assert reuse_shift(rewards, rewards) == 0.0


def test_a_level_of_its_own_is_no_shift() -> None:
    rewards = np.array([[1.0, 2.0], [3.0, 5.0]])
    assert reuse_shift(rewards + 7.0, rewards) == 0.0


def test_prompts_without_all_four_rewards_are_left_out() -> None:
    rewards = np.array([[1.0, 3.0], [NONE, 9.0], [1.0, 9.0]])
    base = np.array([[1.0, 1.0], [1.0, 1.0], [1.0, NONE]])
    assert reuse_shift(rewards, base) == 2.0
    assert reuse_shift(rewards[1:], base[1:]) is None


def test_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="expected"):
        reuse_shift(np.zeros((3, 2)), np.zeros((2, 2)))
    with pytest.raises(ValueError, match="expected"):
        reuse_shift(np.zeros((3, 3)), np.zeros((3, 3)))
