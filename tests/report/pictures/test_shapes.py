"""The arithmetic of the pictures, by hand."""

import numpy as np
import pytest

from mutual_taught.report.pictures import shapes


def test_width_of_the_kernel_is_silvermans() -> None:
    # 0, 1, …, 4: sd = sqrt(2) = 1.4142; quartiles 1 and 3, so IQR / 1.34 = 1.4925.
    # 0.9 * 1.4142 * 5^(-0.2) = 0.9 * 1.4142 * 0.72478 = 0.92249
    assert shapes.bandwidth(np.arange(5.0)) == pytest.approx(0.92249, abs=1e-5)


def test_width_goes_by_the_standard_deviation_where_half_of_the_values_are_alike() -> None:
    values = np.array([0.0] * 9 + [10.0])  # sd = sqrt(10 - 1) = 3; 0.9 * 3 * 10^(-0.2) = 1.70358
    assert shapes.bandwidth(values) == pytest.approx(1.70358, abs=1e-5)


def test_values_that_are_all_alike_have_no_width() -> None:
    assert shapes.bandwidth(np.full(4, 2.5)) == 0.0


def test_density_of_one_value_is_the_kernel_itself() -> None:
    line = shapes.density(np.array([2.0]), width=0.5, points=3)
    assert line.x.tolist() == [0.5, 2.0, 3.5]  # three widths on either side
    # At the value 1 / (0.5 * sqrt(2 pi)) = 0.79788; three widths off e^(-4.5) of that.
    expected = [0.79788 * np.exp(-4.5), 0.79788, 0.79788 * np.exp(-4.5)]
    assert line.y == pytest.approx(expected, rel=1e-4)


def test_area_below_a_density_is_one() -> None:
    values = np.random.default_rng(0).normal(size=500)
    line = shapes.density(values, 0.3)
    assert np.trapezoid(line.y, line.x) == pytest.approx(1.0, abs=0.01)


def test_groups_by_rank_have_the_means_of_both_numbers() -> None:
    found = shapes.by_rank(np.array([3.0, 1, 2, 5, 4]), np.array([30.0, 10, 20, 50, 40]), 2)
    # Ranks 1, 2, 3 and 4, 5: the first group is the larger.
    assert found.x.tolist() == [2.0, 4.5]
    assert found.y.tolist() == [20.0, 45.0]
    assert found.n.tolist() == [3, 2]


def test_fewer_values_than_groups_give_a_group_each() -> None:
    assert shapes.by_rank(np.array([2.0, 1.0]), np.array([5.0, 6.0]), 4).y.tolist() == [6.0, 5.0]


def test_an_edge_is_at_the_cut_and_all_values_are_inside() -> None:
    found = shapes.edges_through(np.array([-1.0, 4.0]), cut=0.25, bins=5)
    # Bins of (4 + 1) / 5 = 1 through 0.25: from -1.75 to 4.25.
    assert found.tolist() == [-1.75, -0.75, 0.25, 1.25, 2.25, 3.25, 4.25]


def test_a_cut_beyond_all_values_still_leaves_a_bin_for_each_value() -> None:
    found = shapes.edges_through(np.array([0.0, 1.0]), cut=-10.0, bins=2)
    assert (found[0], found[-1]) == (0.0, 1.0)


def test_neighbours_are_averaged_until_few_points_are_left() -> None:
    # 5 steps to at most 2 points: runs of 3, the last one of 2.
    assert shapes.thinned(np.array([1.0, 2, 3, 4, 6]), 2).tolist() == [2.0, 5.0]


def test_a_step_without_a_number_counts_as_none() -> None:
    found = shapes.thinned(np.array([1.0, np.nan, np.nan, np.nan]), 2)
    assert found[0] == 1.0
    assert np.isnan(found[1])


def test_a_short_line_stays_as_it_is() -> None:
    assert shapes.thinned(np.array([1.0, 2.0]), 5).tolist() == [1.0, 2.0]


def test_groups_at_one_place_are_one() -> None:
    # Ranks 1, 2 | 3, 4 | 5: the last two groups are at 9; their y is (10 + 20 + 60) / 3.
    apart = shapes.by_rank(np.array([1.0, 3, 9, 9, 9]), np.array([4.0, 6, 10, 20, 60]), 3)
    found = shapes.joined(apart)
    assert (found.x.tolist(), found.y.tolist(), found.n.tolist()) == ([2, 9], [5, 30], [2, 3])
