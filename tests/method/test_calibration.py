"""How likely a pseudo label is right: the logistic fit, worked by hand."""

import math

import numpy as np
import pytest

from mutual_taught.method.calibration import Calibration, accuracies, fit

NONE = float("nan")


def test_two_margins_have_the_shares_of_their_targets() -> None:
    # At 1 three of four are better, at -1 one of four: n1 = n0 = 4, targets 5/6 and 1/6.
    # Means of the targets: (3 * 5/6 + 1/6) / 4 = 2/3 at 1, and 1/3 at -1; their logit is log 2.
    margins = np.array([1.0, 1, 1, 1, -1, -1, -1, -1])
    better = np.array([True, True, True, False, True, False, False, False])
    found = fit(margins, better)
    assert found == Calibration(0.0, round(math.log(2), 6), -1.0, 1.0, 8)
    assert accuracies(np.array([1.0, -1.0]), found) == pytest.approx([2 / 3, 1 / 3], abs=1e-6)


def test_margin_that_parts_all_pairs_gives_a_finite_slope() -> None:
    # n1 = n0 = 2: targets 3/4 and 1/4, whose logits are log 3 and -log 3.
    found = fit(np.array([1.0, 1, -1, -1]), np.array([True, True, False, False]))
    assert (found.offset, found.slope) == (0.0, round(math.log(3), 6))


def test_newer_answers_that_are_mostly_better_lift_the_accuracy_at_margin_0() -> None:
    # At 0 and at 2 alike three of four are better: n1 = 6, n0 = 2, targets 7/8 and 1/4.
    # Mean target (3 * 7/8 + 1/4) / 4 = 23/32 everywhere, so the slope is 0.
    margins = np.repeat([0.0, 2.0], 4)
    found = fit(margins, np.tile([True, True, True, False], 2))
    assert found.slope == pytest.approx(0.0, abs=1e-6)
    assert found.offset == pytest.approx(math.log(23 / 9), abs=1e-6)


def test_margins_that_are_alike_have_no_slope() -> None:
    # n1 = 3, n0 = 1: targets 4/5 and 1/3; mean (3 * 4/5 + 1/3) / 4 = 41/60, logit log(41/19)
    found = fit(np.full(4, 0.7), np.array([True, True, True, False]))
    assert found == Calibration(round(math.log(41 / 19), 6), 0.0, 0.7, 0.7, 4)


def test_without_a_pair_every_label_is_as_likely_right_as_wrong() -> None:
    found = fit(np.array([]), np.array([], bool))
    assert found == Calibration(0.0, 0.0, 0.0, 0.0, 0)
    assert accuracies(np.array([-3.0, 9.0]), found).tolist() == [0.5, 0.5]


def test_margin_beyond_those_that_were_seen_counts_as_the_nearest_and_none_stays_none() -> None:
    found = accuracies(np.array([50.0, 1.0, -50.0, NONE]), Calibration(0.0, math.log(3), -1, 1, 9))
    assert found[:3].tolist() == [0.75, 0.75, 0.25]
    assert np.isnan(found[3])


@pytest.mark.parametrize("seed", range(20))
def test_fit_is_where_the_gradient_of_the_cross_entropy_is_0(seed: int) -> None:
    draw = np.random.default_rng(seed)
    margins = draw.normal(draw.normal(), draw.uniform(0.1, 30), size=draw.integers(2, 60))
    better = draw.random(len(margins)) < 1 / (1 + np.exp(-margins))
    found = fit(margins, better)
    n1, n0 = better.sum(), (~better).sum()
    targets = np.where(better, (n1 + 1) / (n1 + 2), 1 / (n0 + 2))
    off = 1 / (1 + np.exp(-(found.offset + found.slope * margins))) - targets
    assert abs(off.sum()) < 1e-3  # six decimals of offset and slope
    assert abs((off * (margins - margins.mean())).sum() / margins.std()) < 1e-3


def test_a_margin_that_is_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match="must be finite"):
        fit(np.array([1.0, NONE]), np.array([True, False]))
