"""What a reward model favours stored answers by, worked by hand."""

import numpy as np
import pytest

from bench.reused import favoured


def test_stored_answer_is_favoured_by_what_it_gains_beyond_new_ones() -> None:
    # r_t - r_0: 1.0 for the stored answer, 0.5 and 0.1 for the new ones: 1.0 - 0.3
    rewards, base = np.array([[2.0, 1.5, 0.6]]), np.array([[1.0, 1.0, 0.5]])
    assert favoured(rewards, base) == pytest.approx([0.7])


def test_what_lifts_all_responses_of_a_policy_favours_none() -> None:
    base = np.array([[0.3, -1.2], [2.0, 0.5]])
    lift = np.array([[1.5], [-0.5]])
    assert favoured(base + lift, base) == pytest.approx([0, 0])


def test_prompt_with_a_response_without_a_reward_does_not_count() -> None:
    rewards, base = np.array([[1.0, np.nan], [1.0, 0.25]]), np.zeros((2, 2))
    assert favoured(rewards, base) == pytest.approx([0.75])
