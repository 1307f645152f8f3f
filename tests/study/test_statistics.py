"""Intervals over seeds and prompts, and Holm's correction, worked by hand."""

import numpy as np
import pytest

from study.statistics import Sample, estimate, holm


def sample(own: list[float], other: list[float], counts: list[float] | None = None) -> Sample:
    n = np.array(counts or [1.0] * len(own))
    return Sample(np.array(own), n, np.array(other), n)


def test_estimate_is_over_all_responses_of_all_seeds() -> None:
    # Seed one: 3 of 4 against 1 of 4; seed two: 1 of 2 against 1 of 2. In all 4/6 - 2/6.
    found = estimate([sample([2.0, 1.0], [1.0, 0.0], [2.0, 2.0]), sample([1.0, 0.0], [1.0, 0.0])])
    assert found.mean == pytest.approx(1 / 3)
    assert found.seeds == 2


def test_an_equal_difference_everywhere_has_no_width_and_a_small_p() -> None:
    found = estimate([sample([1.0, 1.0], [0.5, 0.5]), sample([0.5, 0.5], [0.0, 0.0])])
    assert (found.mean, found.low, found.high) == (0.5, 0.5, 0.5)
    assert found.p < 0.001


def test_interval_holds_the_spread_of_the_seeds() -> None:
    # Prompts of a seed are alike, so only the seeds' means vary: 0 and 1, of two draws.
    found = estimate([sample([0.0] * 9, [0.0] * 9), sample([1.0] * 9, [0.0] * 9)])
    assert (found.low, found.high) == (0.0, 1.0)
    assert found.p == pytest.approx(0.5, abs=0.05)  # both draws are the first seed: 1 of 4, twice


def test_nothing_is_subtracted_where_there_is_no_other_side() -> None:
    none = np.zeros(2)
    assert estimate([Sample(np.array([1.0, 0.0]), np.ones(2), none, none)]).mean == 0.5
    assert np.isnan(estimate([]).mean)


def test_holm_multiplies_the_smallest_by_n_and_keeps_the_order() -> None:
    # 0.01 * 3, then 0.02 * 2, then max(0.04, 0.03 * 1).
    assert holm([0.03, 0.01, 0.02]) == pytest.approx([0.04, 0.03, 0.04])
    assert holm([0.9, float("nan")])[0] == 0.9
    assert np.isnan(holm([0.9, float("nan")])[1])
