"""Statistics of every accuracy on pairs, by hand; the intervals' coverage, by simulation."""

import math

import numpy as np
import pytest

from mutual_taught.evaluation.benchmarks import pairs, resampling
from mutual_taught.evaluation.benchmarks.base import Compared, Item
from mutual_taught.method.statistics import bootstrap

NONE = float("nan")


def compared(*rows: tuple[float, float, int, int, int]) -> Compared:
    """Give pairs of (reward chosen, rejected, length chosen, rejected, prompt)."""
    columns = [np.array(column) for column in zip(*rows, strict=True)]
    floats = [column.astype(np.float64) for column in columns[:2]]
    whole = [column.astype(np.int64) for column in columns[2:]]
    return Compared(floats[0], floats[1], whole[0], whole[1], whole[2], np.arange(len(rows)))


def texts(*rows: tuple[float, int]) -> pairs.Responses:
    rewards, lengths = zip(*rows, strict=True)
    return pairs.Responses(np.array(rewards, np.float64), np.array(lengths, np.int64))


def test_a_tie_and_a_missing_reward_are_errors_and_are_counted() -> None:
    found = pairs.describe(
        compared((3, 1, 9, 5, 0), (1, 1, 9, 5, 1), (NONE, 1, 5, 9, 2), (0, 2, 5, 9, 3)),
        texts((3, 9), (1, 5)),
    )
    # right, tie, no reward, wrong: 1 of 4
    assert (found["accuracy"], found["n"], found["prompts"]) == (0.25, 4, 4)
    assert (found["ties"], found["unscored"]) == (1, 1)
    # margins 2, 0, -2: mean 0; log-loss ln(1 + e^-m)
    assert found["margin"] == 0
    losses = [math.log1p(math.exp(-margin)) for margin in (2, 0, -2)]
    assert found["log_loss"] == pytest.approx(sum(losses) / 3)


def test_accuracy_is_parted_by_which_side_is_longer() -> None:
    found = pairs.describe(
        compared((1, 0, 9, 5, 0), (0, 1, 9, 5, 1), (1, 0, 5, 9, 2), (1, 0, 7, 7, 3)), texts((1, 1))
    )
    assert (found["accuracy_chosen_longer"], found["n_chosen_longer"]) == (0.5, 2)
    assert (found["accuracy_chosen_shorter"], found["n_chosen_shorter"]) == (1.0, 1)
    # a scorer of length is right on two of four; equal lengths are a tie, and so an error
    assert found["length_scorer"] == 0.5


def test_a_scorer_of_length_is_right_where_chosen_is_longer_and_nowhere_else() -> None:
    found = pairs.describe(
        compared((9, 5, 9, 5, 0), (5, 9, 5, 9, 1), (8, 2, 8, 2, 2)), texts((9, 9), (5, 5), (2, 2))
    )
    assert found["accuracy"] == found["length_scorer"] == pytest.approx(2 / 3)
    assert (found["accuracy_chosen_longer"], found["accuracy_chosen_shorter"]) == (1, 0)
    assert found["spearman"] == pytest.approx(1)


def test_pairs_without_any_reward_have_no_loss_and_no_calibration() -> None:
    found = pairs.describe(compared((NONE, NONE, 1, 2, 0)), texts((NONE, 1), (NONE, 2)))
    assert (found["accuracy"], found["unscored"]) == (0, 1)
    assert found["log_loss"] is found["ece"] is found["margin"] is found["spearman"] is None


def test_responses_are_counted_once_each_however_many_pairs_they_are_in() -> None:
    item = Item("a", "", [{"role": "user", "content": "x"}], ["long answer", "mid", "s"], (1, 0, 0))
    found = pairs.measured([item], [[1.0, 2.0, 3.0]])
    # two pairs, both wrong; three responses whose rewards fall as their lengths rise
    assert (found["n"], found["prompts"], found["accuracy"]) == (2, 1, 0)
    assert found["spearman"] == pytest.approx(-1)
    assert pairs.lengths_as_scores([item]) == [[11.0, 3.0, 1.0]]


def test_mix_weights_means_and_their_draws() -> None:
    one = resampling.Mean(1.0, np.array([1.0, 0.5]), 5)
    two = resampling.Mean(0.0, np.array([0.5, 0.0]), 7)
    mixed = resampling.mix([(one, 3), (two, 1)])
    # (3 x 1 + 1 x 0) / 4; draws (3 + .5) / 4 and 1.5 / 4
    assert (mixed.value, mixed.n) == (0.75, 12)
    assert mixed.draws.tolist() == [0.875, 0.375]


def test_a_part_without_units_has_no_number() -> None:
    empty = resampling.mean([], np.empty(0, np.int64), "x")
    assert resampling.interval("a", resampling.mix([(empty, 1)])) == {
        "a.mean": None,
        "a.ci_lo": None,
        "a.ci_hi": None,
        "a.n": 0.0,
    }


def test_units_of_a_prompt_are_drawn_together() -> None:
    # one prompt holds both units: each draw is (1 + 0) / 2
    drawn = resampling.mean([1, 0], np.array([4, 4]), "x", draws=50).draws
    assert set(drawn.tolist()) == {0.5}


def test_parts_of_other_names_move_on_their_own() -> None:
    values, groups = np.arange(9.0), np.arange(9)
    one, same, other = (resampling.mean(values, groups, name, 100).draws for name in "aab")
    assert (one == same).all()
    assert (one != other).any()


def test_intervals_cover_the_truth_19_times_in_20() -> None:
    """150 prompts of two pairs that share their prompt's difficulty; the truth is known: 0.7."""
    rng, covered, trials = np.random.default_rng(7), 0, 600
    groups = np.repeat(np.arange(150), 2)
    for trial in range(trials):
        easy = np.repeat(rng.random(150) < 0.5, 2)
        right = rng.random(300) < np.where(easy, 0.9, 0.5)
        drawn = resampling.mean(right.astype(np.float64), groups, str(trial), draws=600)
        found = resampling.interval("a", drawn)
        low, high = found["a.ci_lo"], found["a.ci_hi"]
        assert low is not None
        assert high is not None
        covered += low <= 0.7 <= high
    assert 0.93 <= covered / trials <= 0.97


def test_intervals_of_a_mix_cover_the_truth_19_times_in_20() -> None:
    """A small and a large part with equal weights: the truth is (0.8 + 0.4) / 2."""
    rng, covered, trials = np.random.default_rng(8), 0, 600
    for trial in range(trials):
        small = (rng.random(80) < 0.8).astype(np.float64)
        large = (rng.random(200) < 0.4).astype(np.float64)
        parts = [
            resampling.mean(part, np.arange(len(part)), f"{trial} {place}", draws=600)
            for place, part in enumerate((small, large))
        ]
        low, high = np.percentile(resampling.mix([(part, 1) for part in parts]).draws, [2.5, 97.5])
        covered += low <= 0.6 <= high
    assert 0.93 <= covered / trials <= 0.97


def test_the_interval_is_that_of_the_pipelines_bootstrap() -> None:
    values = np.random.default_rng(3).random(400)
    found, known = resampling.mean(values, np.arange(400), "x"), bootstrap(values, 5)
    low, high = np.percentile(found.draws, [2.5, 97.5])
    # two samplings of 10,000: their ends agree to a few hundredths of the interval's width
    width = known.ci_hi - known.ci_lo
    assert found.value == known.mean
    assert abs(low - known.ci_lo) < 0.06 * width
    assert abs(high - known.ci_hi) < 0.06 * width
