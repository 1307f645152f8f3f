"""Bootstrap, sign flips and the accuracy of a reward model."""

import math

import numpy as np
import pytest

from mutual_taught.method.statistics import DRAWS, bootstrap, pair_accuracy, sign_flip_p

HALF = np.array([0.0, 1.0] * 50)


def test_bootstrap_of_a_constant_is_that_constant() -> None:
    assert bootstrap(np.full(8, 0.25), 1) == (0.25, 0.25, 0.25, 8)


def test_bootstrap_interval_is_two_standard_errors_wide() -> None:
    # share 1 / 2 of 100: standard error sqrt(0.25 / 100) = 0.05, 1.96 of them to either side
    found = bootstrap(HALF, 1)
    assert (found.mean, found.n) == (0.5, 100)
    assert found.ci_lo == pytest.approx(0.5 - 1.96 * 0.05, abs=0.011)
    assert found.ci_hi == pytest.approx(0.5 + 1.96 * 0.05, abs=0.011)


def test_bootstrap_draws_all_units_of_a_prompt_together() -> None:
    # four equal units a prompt say no more than one: the same draws give the same interval
    values, prompts = np.array([1.0, 5, 2, 8, 3]), np.repeat([30, 10, 50, 20, 40], 4)
    order = np.argsort([30, 10, 50, 20, 40])
    assert bootstrap(np.repeat(values, 4), 7, prompts) == bootstrap(values[order], 7)


def test_bootstrap_mean_is_over_units_where_prompts_have_different_numbers() -> None:
    # (1 + 1 + 1 + 5) / 4 = 2, not the mean 3 of the two prompts' means
    found = bootstrap(np.array([1.0, 1, 1, 5]), 1, np.array([0, 0, 0, 1]))
    assert (found.mean, found.n) == (2.0, 2)
    # the same prompt twice gives 1 or 5, both give 2
    assert (found.ci_lo, found.ci_hi) == (1.0, 5.0)


def test_bootstrap_depends_on_its_seed_alone() -> None:
    values = np.random.default_rng(0).normal(size=50)
    assert bootstrap(values, 3) == bootstrap(values, 3)
    assert bootstrap(values, 3) != bootstrap(values, 4)


def test_bootstrap_of_nothing_is_no_number() -> None:
    found = bootstrap(np.array([]), 1)
    assert found.n == 0
    assert all(math.isnan(value) for value in found[:3])


def test_sign_flip_counts_the_flips_at_least_as_far_from_zero() -> None:
    # of the flips of (1, 1), half have both signs alike: mean 1 or -1, as observed
    assert sign_flip_p(np.array([1.0, 1.0]), 1) == pytest.approx(0.5, abs=0.02)


def test_sign_flip_of_clear_differences_is_the_smallest_p_there_is() -> None:
    # 2 of 2^40 flips are as extreme: none of 10,000 draws is
    assert sign_flip_p(np.ones(40), 1) == 1 / (DRAWS + 1)


def test_sign_flip_without_any_difference_is_one() -> None:
    assert sign_flip_p(np.zeros(5), 1) == 1.0
    assert sign_flip_p(np.array([]), 1) == 1.0


def test_sign_flip_is_two_sided() -> None:
    differences = np.array([0.3, -0.1, 0.5, 0.2])
    assert sign_flip_p(differences, 1) == sign_flip_p(-differences, 1)


def test_pair_accuracy_counts_ties_as_errors() -> None:
    # margins 1, 0, -1: one of three right, one tie
    found = pair_accuracy(np.array([2.0, 1, 0]), np.array([1.0, 1, 1]), 1)
    assert found.accuracy.mean == pytest.approx(1 / 3)
    assert (found.ties, found.margin) == (1, 0.0)


def test_pair_with_an_unscored_side_is_an_error_and_in_no_mean() -> None:
    # margins 2, none, none, none: one of four right; margin and log-loss are of the first alone
    none = float("nan")
    found = pair_accuracy(np.array([2.0, none, 5, none]), np.array([0.0, 1, none, none]), 1)
    assert (found.accuracy.mean, found.ties, found.unscored) == (0.25, 0, 3)
    assert found.margin == 2.0
    assert found.log_loss == pytest.approx(math.log(1 + math.exp(-2)))


def test_pairs_without_any_reward_are_all_wrong() -> None:
    found = pair_accuracy(np.full(2, np.nan), np.zeros(2), 1)
    assert (found.accuracy.mean, found.accuracy.n, found.unscored) == (0.0, 2, 2)
    assert math.isnan(found.log_loss)
    assert math.isnan(found.margin)


def test_log_loss_of_a_tie_is_log_two() -> None:
    assert pair_accuracy(np.zeros(3), np.zeros(3), 1).log_loss == pytest.approx(math.log(2))


def test_log_loss_is_the_mean_of_log_one_plus_exp_minus_margin() -> None:
    found = pair_accuracy(np.array([1.0, 0.0]), np.array([0.0, 2.0]), 1)
    expected = (math.log(1 + math.exp(-1)) + math.log(1 + math.exp(2))) / 2
    assert found.log_loss == pytest.approx(expected)
    assert found.margin == -0.5


def test_log_loss_of_a_huge_margin_does_not_overflow() -> None:
    assert pair_accuracy(np.array([-1e4]), np.array([0.0]), 1).log_loss == pytest.approx(1e4)


def test_pair_accuracy_resamples_prompts() -> None:
    found = pair_accuracy(np.ones(4), np.zeros(4), 1, np.array([0, 0, 1, 1]))
    assert found.accuracy == (1.0, 1.0, 1.0, 2)


def test_pair_accuracy_of_nothing_is_no_number() -> None:
    found = pair_accuracy(np.array([]), np.array([]), 1)
    assert (found.accuracy.n, found.ties) == (0, 0)
    assert math.isnan(found.log_loss)
    assert math.isnan(found.margin)
