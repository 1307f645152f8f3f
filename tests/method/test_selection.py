"""Duels and the choice of a checkpoint."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mutual_taught.method.selection import (
    Selected,
    Ties,
    by_prompt,
    judge_duels,
    outcomes,
    outcomes_with_failures,
    seeds_of,
    select_checkpoint,
    wins,
)

WIN, TIE, LOSS = 1.0, 0.5, 0.0
NONE = float("nan")


def select(
    duels: dict[int, list[float]], threshold: float = 0.6, always_last: bool = False
) -> Selected:
    arrays = {step: np.array(values) for step, values in duels.items()}
    return select_checkpoint(arrays, threshold, always_last)


def test_higher_reward_wins_a_tie_is_half_and_lower_loses() -> None:
    judged = outcomes(np.array([2.0, 1.0, -3.0]), np.array([1.0, 1.0, -2.0]))
    assert judged.tolist() == [WIN, TIE, LOSS]


def test_tiny_difference_is_a_whole_win() -> None:
    assert outcomes(np.array([1.0 + 2.0**-52]), np.array([1.0])).tolist() == [WIN]


def test_duels_of_different_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^shapes differ: "):
        outcomes(np.array([1.0, 2.0]), np.array([1.0]))


@pytest.mark.parametrize(("own", "other"), [(float("nan"), 0.0), (0.0, float("inf"))])
def test_reward_that_is_no_number_is_refused(own: float, other: float) -> None:
    with pytest.raises(ValueError, match=r"^rewards of duels must be finite"):
        outcomes(np.array([own]), np.array([other]))


def test_prompt_with_an_unscored_response_is_left_out_for_all_checkpoints() -> None:
    # Two checkpoints on prompts a to d: on b the second has no reward, on c pi_{t-1} has none.
    rewards = np.array([2.0, 2.0, 2.0, 0.0, 1.0, NONE, 2.0, 3.0])
    previous = np.array([1.0, 1.0, NONE, 1.0] * 2)
    found = judge_duels(rewards, previous, np.array(list("abcd") * 2))
    np.testing.assert_equal(found.outcomes, [WIN, NONE, NONE, LOSS, TIE, NONE, NONE, WIN])
    assert found.reasons == ["", "unscored", "unscored", ""] * 2


def test_duels_that_are_all_scored_are_judged_as_they_are() -> None:
    rewards, previous = np.array([2.0, 1.0, 0.0]), np.ones(3)
    found = judge_duels(rewards, previous, np.arange(3))
    assert found.outcomes.tolist() == outcomes(rewards, previous).tolist()
    assert found.reasons == ["", "", ""]


def test_infinite_reward_of_a_duel_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^rewards of duels must be finite"):
        judge_duels(np.array([float("inf")]), np.ones(1), np.arange(1))


def test_failed_response_loses_against_a_scored_one_and_ties_with_a_failed_one() -> None:
    judged = outcomes_with_failures(
        np.array([NONE, -9.0, NONE, 2.0, 1.0]), np.array([-9.0, NONE, NONE, 1.0, 1.0])
    )
    assert judged.tolist() == [LOSS, WIN, TIE, WIN, TIE]


def test_checkpoint_with_the_highest_win_rate_is_chosen() -> None:
    # win rates 2 / 4, 3 / 4, 2.5 / 4
    duels = {50: [WIN, WIN, LOSS, LOSS], 100: [WIN, WIN, WIN, LOSS], 150: [WIN, WIN, TIE, LOSS]}
    assert select(duels) == Selected(100, 0.75, True)


def test_equal_win_rates_go_to_the_earliest_step() -> None:
    assert select({100: [TIE, WIN], 50: [WIN, TIE], 150: [TIE, WIN]}).step == 50


def test_win_rate_of_exactly_tau_goes_on() -> None:
    # 3 / 5 = 0.6
    assert select({1: [WIN, WIN, WIN, LOSS, LOSS]}) == Selected(1, 0.6, True)


def test_win_rate_below_tau_stops() -> None:
    # 2.5 / 5 = 0.5
    assert select({1: [WIN, WIN, TIE, LOSS, LOSS]}) == Selected(1, 0.5, False)


def test_two_ties_are_worth_one_win() -> None:
    assert select({1: [TIE, TIE, LOSS]}).win_rate == pytest.approx(1 / 3)


def test_tie_is_half_a_win_or_a_loss_and_nothing_else_changes() -> None:
    fought = np.array([WIN, TIE, LOSS, TIE])
    assert wins(fought, "half").tolist() == [1.0, 0.5, 0.0, 0.5]
    assert wins(fought, "loss").tolist() == [1.0, 0.0, 0.0, 0.0]


def test_ties_as_losses_can_choose_another_checkpoint() -> None:
    # half: 2.5 / 4 against 2 / 4; loss: 1 / 4 against 2 / 4
    duels = {50: np.array([WIN, TIE, TIE, TIE]), 100: np.array([WIN, WIN, LOSS, LOSS])}

    def chosen(ties: Ties) -> Selected:
        return select_checkpoint({step: wins(duels[step], ties) for step in duels}, 0.5)

    assert chosen("half") == Selected(50, 0.625, True)
    assert chosen("loss") == Selected(100, 0.5, True)


def test_threshold_above_one_always_stops() -> None:
    assert select({1: [WIN, WIN]}, threshold=1.01) == Selected(1, 1.0, False)


def test_threshold_zero_never_stops() -> None:
    assert select({1: [LOSS, LOSS]}, threshold=0.0) == Selected(1, 0.0, True)


def test_always_last_takes_the_last_step_and_goes_on() -> None:
    assert select({50: [WIN], 100: [LOSS]}, always_last=True) == Selected(100, 0.0, True)


def test_prompts_count_alike_and_each_by_the_share_of_its_draws_that_win() -> None:
    # a wins 1 and 0, b ties and wins, c loses twice: 0.5, 0.75, 0
    results = np.array([WIN, LOSS, TIE, WIN, LOSS, LOSS])
    assert by_prompt(results, np.array(list("aabbcc"))).tolist() == [0.5, 0.75, 0.0]
    # rows of other prompts between change nothing
    assert by_prompt(results[[0, 2, 1, 3]], np.array(list("abab"))).tolist() == [0.5, 0.75]


def test_prompt_with_one_draw_counts_as_its_result() -> None:
    results = np.array([WIN, TIE, LOSS])
    assert by_prompt(results, np.array(list("abc"))).tolist() == [WIN, TIE, LOSS]


def test_only_coupled_draws_give_pi_before_the_seeds_of_the_candidates() -> None:
    assert len(set(seeds_of("independent"))) == 2
    assert len(set(seeds_of("coupled"))) == 1
    assert seeds_of("independent")[0] == seeds_of("coupled")[0]


@pytest.mark.parametrize("duels", [{}, {50: [WIN], 100: []}])
def test_checkpoint_without_duels_is_refused(duels: dict[int, list[float]]) -> None:
    with pytest.raises(ValueError, match=r"^every checkpoint needs at least one duel"):
        select(duels)


results = st.lists(st.sampled_from([WIN, TIE, LOSS]), min_size=4, max_size=4)


@given(st.dictionaries(st.integers(1, 500), results, min_size=1, max_size=5), st.floats(0, 1.2))
def test_choice_is_the_first_of_the_best_whatever_the_order_of_the_checkpoints(
    duels: dict[int, list[float]], threshold: float
) -> None:
    rates = {step: sum(values) / 4 for step, values in duels.items()}
    best = min(step for step, rate in rates.items() if rate == max(rates.values()))
    expected = Selected(best, rates[best], rates[best] >= threshold)
    assert select(duels, threshold) == expected
    assert select(dict(reversed(duels.items())), threshold) == expected


@given(st.lists(st.tuples(st.integers(-3, 3), st.integers(-3, 3)), min_size=1))
def test_the_two_sides_of_a_duel_share_one_win(rewards: list[tuple[int, int]]) -> None:
    own, other = (np.array(side, dtype=np.float64) for side in zip(*rewards, strict=True))
    assert (outcomes(own, other) + outcomes(other, own)).tolist() == [1.0] * len(rewards)
