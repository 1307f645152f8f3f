"""Win rates of judges, worked by hand."""

import numpy as np
import pytest

from mutual_taught.evaluation.judges.numbers import Games, win_rate

NAN = float("nan")


def games(rows: list[tuple[float, float]], prompts: list[int] | None = None) -> Games:
    preferred = np.array(rows).reshape(-1, 2)
    names = np.arange(len(rows)) if prompts is None else np.array(prompts)
    return Games(preferred, np.ones(preferred.shape, np.int64), names)


def test_both_orders_are_averaged_and_what_they_say_is_counted() -> None:
    # (1 + 1)/2, (1 + 0)/2, (0 + 0)/2, (.8 + .6)/2: mean (1 + .5 + 0 + .7)/4 = .55. Orders agree in
    # all but the second. Shown first, a response is preferred (p0 + 1 - p1)/2: .5, 1, .5, .6.
    found = win_rate(games([(1, 1), (1, 0), (0, 0), (0.8, 0.6)]), 1)
    assert found["mean"] == pytest.approx(0.55, abs=1e-12)
    assert (found["n"], found["ties"], found["failures"]) == (4, 1, 0)
    assert found["consistency"] == 0.75
    assert found["first"] == pytest.approx(2.6 / 4, abs=1e-12)


def test_a_comparison_with_one_verdict_is_left_out_and_counted() -> None:
    found = win_rate(games([(1, NAN), (0, 0), (NAN, NAN)]), 1)
    assert (found["mean"], found["n"], found["comparisons"], found["failures"]) == (0, 1, 3, 2)


def test_a_strong_verdict_counts_as_three_battles() -> None:
    # Battles won: 3 of 3 and 0 of 1 of one prompt, 0 of 1 and 0 of 1 of the other: 3 of 6.
    preferred = np.array([[1.0, 0.0], [0.0, 0.0]])
    weights = np.array([[3, 1], [1, 1]])
    found = win_rate(Games(preferred, weights, np.array([0, 1])), 1)
    assert found["mean"] == 0.5


def test_a_system_against_itself_is_even_and_roles_swapped_give_the_rest() -> None:
    rng = np.random.default_rng(3)
    preferred = rng.uniform(size=(50, 2))
    weights, prompts = np.ones((50, 2), np.int64), np.arange(50) // 2
    own = win_rate(Games(preferred, weights, prompts), 1)["mean"]
    swapped = win_rate(Games(1 - preferred[:, ::-1], weights, prompts), 1)["mean"]
    assert own + swapped == pytest.approx(1, abs=1e-12)
    itself = np.stack([preferred[:, 0], 1 - preferred[:, 0]], 1)  # a bent for a place, no more
    assert win_rate(Games(itself, weights, prompts), 1)["mean"] == pytest.approx(0.5, abs=1e-12)


def test_without_any_verdict_there_is_no_win_rate() -> None:
    found = win_rate(games([(NAN, 1.0)]), 1)
    assert np.isnan(found["mean"])
    assert np.isnan(found["consistency"])
    assert (found["n"], found["failures"]) == (0, 1)


def test_responses_of_one_prompt_move_together() -> None:
    # Ten prompts, each all won or all lost: twenty alike responses make the interval no narrower.
    rows = [(float(prompt % 2), float(prompt % 2)) for prompt in range(10)]
    once = win_rate(games(rows), 1)
    often = win_rate(games(rows * 20, list(range(10)) * 20), 1)
    assert (often["ci_lo"], often["ci_hi"]) == (once["ci_lo"], once["ci_hi"])
    assert once["ci_lo"] < 0.3
