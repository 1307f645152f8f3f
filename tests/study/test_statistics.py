"""Intervals over seeds, and Holm's correction, worked by hand."""

import numpy as np
import pytest

from study.statistics import Sample, estimate, holm, quantile


def sample(own: list[float], other: list[float], counts: list[float] | None = None) -> Sample:
    n = np.array(counts or [1.0] * len(own))
    return Sample(np.array(own), n, np.array(other), n)


def same(difference: float) -> Sample:
    return sample([difference] * 9, [0.0] * 9)


def test_every_seed_counts_alike_however_many_responses_it_has() -> None:
    # Seed one: 3 of 4 against 1 of 4; seed two: 1 of 2 against 0 of 2. Both are 1/2.
    first = sample([2.0, 1.0], [1.0, 0.0], [2.0, 2.0])
    found = estimate([first, sample([1.0, 0.0], [0.0, 0.0])])
    assert (found.mean, found.each, found.seeds) == (0.5, (0.5, 0.5), 2)
    assert estimate([first, same(0.0)]).mean == 0.25


def test_interval_of_three_seeds_is_students() -> None:
    # Differences 0.1, 0.2, 0.3: mean 0.2, standard error 0.1 / sqrt(3), t with 2 degrees of freedom
    # 3.4641, and 5 % lie beyond 4.3027. With 2 degrees p is 1 - t / sqrt(2 + t^2).
    found = estimate([same(0.1), same(0.2), same(0.3)])
    error = 0.1 / 3**0.5
    assert (found.low, found.high) == pytest.approx(
        (0.2 - 4.3027 * error, 0.2 + 4.3027 * error), abs=1e-5
    )
    assert found.p == pytest.approx(1 - 3.4641 / (2 + 3.4641**2) ** 0.5, abs=1e-4)


def test_quantiles_are_those_of_the_tables() -> None:
    found = [quantile(freedom) for freedom in (1, 2, 4, 9, 30)]
    assert found == pytest.approx([12.706, 4.303, 2.776, 2.262, 2.042], abs=6e-4)


def test_two_seeds_have_a_range_and_no_p() -> None:
    found = estimate([same(0.0), same(1.0)])
    assert (found.mean, found.low, found.high) == (0.5, 0.0, 1.0)
    assert np.isnan(found.p)


def test_one_seed_has_an_interval_over_its_prompts() -> None:
    found = estimate([sample([1.0, 0.0] * 50, [0.0] * 100)])
    assert (found.low, found.high) == pytest.approx((0.4, 0.6), abs=0.02)  # 0.5 +- 1.96 * 0.05
    assert np.isnan(found.p)


def test_an_equal_difference_of_all_seeds_has_no_width() -> None:
    found = estimate([same(0.5)] * 3)
    assert (found.mean, found.low, found.high, found.p) == (0.5, 0.5, 0.5, 0.0)
    assert estimate([same(0.0)] * 3).p == 1.0


def test_chance_is_found_in_one_of_twenty() -> None:
    # Five seeds whose true differences are spread around 0: the interval misses it in 5 %.
    rng = np.random.default_rng(3)
    missed = [estimate([same(d) for d in rng.normal(0, 0.1, 5)]).p < 0.05 for _ in range(1000)]
    assert 0.03 < np.mean(missed) < 0.07


def test_nothing_is_subtracted_where_there_is_no_other_side() -> None:
    none = np.zeros(2)
    assert estimate([Sample(np.array([1.0, 0.0]), np.ones(2), none, none)]).mean == 0.5
    assert np.isnan(estimate([]).mean)


def test_holm_multiplies_the_smallest_by_n_and_keeps_the_order() -> None:
    # 0.01 * 3, then 0.02 * 2, then max(0.04, 0.03 * 1).
    assert holm([0.03, 0.01, 0.02]) == pytest.approx([0.04, 0.03, 0.04])
    assert holm([0.9, float("nan")])[0] == 0.9
    assert np.isnan(holm([0.9, float("nan")])[1])


def test_holm_counts_the_tests_that_wait() -> None:
    assert holm([0.02, 0.01, float("nan")], tests=5)[:2] == pytest.approx([0.08, 0.05])
    assert holm([0.02, 0.01], tests=1) == pytest.approx([0.02, 0.02])
