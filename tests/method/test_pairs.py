"""Ranked pairs, epsilon_t and the filter: the paper's rules on literal numbers."""

from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mutual_taught.method.pseudo_pairs import (
    Accumulated,
    FilterRule,
    carried,
    drawn_seeds,
    filter_pseudo_pairs,
    labels_by_gold,
    tolerance,
)
from mutual_taught.method.ranked_pairs import (
    ChosenRule,
    RankedPairs,
    filter_ranked_pairs,
    rank_pairs,
)

ULP = 2.0**-52
NONE = float("nan")


def rank(
    rewards: list[float],
    lengths: list[int] | None = None,
    blank: tuple[int, ...] = (),
    texts: str = "",
    rule: ChosenRule = "shortest_above_mean",
    lots: list[int] | None = None,
) -> tuple[int, int, str]:
    """Rank one prompt; `texts` spells each response as one letter, all different if empty."""
    width = len(rewards)
    found = rank_pairs(
        np.array([rewards]),
        np.array([lengths or [7] * width], dtype=np.int64),
        np.array([lots or list(range(width))], dtype=np.int64),
        rule,
    )
    chosen, rejected = int(found.chosen[0]), int(found.rejected[0])
    letters = texts or "abcdefghi"
    reasons = filter_ranked_pairs(
        found.chosen,
        found.unscored,
        np.array([False]),
        np.array([chosen in blank or rejected in blank]),
        np.array([letters[chosen] == letters[rejected]]),
    )
    return chosen, rejected, reasons[0]


def kept(
    margins: list[float],
    epsilon: float,
    rule: FilterRule = "tolerance",
    blank: tuple[int, ...] = (),
    same: tuple[int, ...] = (),
) -> list[str]:
    places = range(len(margins))
    return filter_pseudo_pairs(
        np.array(margins),
        epsilon,
        np.array([index in blank for index in places], dtype=bool),
        np.array([index in same for index in places], dtype=bool),
        rule,
    )


def test_chosen_is_the_shortest_response_above_the_mean() -> None:
    # mean 15 / 5 = 3; above it are columns 3 (30 tokens) and 4 (20); column 1 is shorter but below
    assert rank([1, 2, 3, 4, 5], [5, 1, 9, 30, 20]) == (4, 0, "")


def test_response_at_the_mean_is_not_above_it() -> None:
    # mean 2: column 1 is the shortest but only equals it
    assert rank([1, 2, 3], [9, 1, 9]) == (2, 0, "")


def test_rejected_is_the_lowest_reward_whatever_its_length() -> None:
    assert rank([3, -8, 1], [1, 99, 1]) == (0, 1, "")


def test_tie_in_length_goes_to_the_lowest_index() -> None:
    # mean 9 / 4 = 2.25; columns 1 and 2 are above it with 7 tokens each
    assert rank([0, 4, 5, 0], [9, 7, 7, 9]) == (1, 0, "")


def test_tie_for_the_lowest_reward_goes_to_the_lowest_index() -> None:
    assert rank([5, 1, 1]) == (0, 1, "")


def test_highest_rule_ignores_length() -> None:
    # mean 3: the shortest above it is column 4, the highest is column 3
    assert rank([1, 2, 3, 5, 4], [1, 1, 1, 30, 20], rule="highest") == (3, 0, "")


def test_highest_rule_gives_a_tie_to_the_lowest_index() -> None:
    assert rank([1, 4, 4], [1, 9, 2], rule="highest") == (1, 0, "")


@pytest.mark.parametrize("rule", ["shortest_above_mean", "highest", "random"])
def test_prompt_whose_responses_score_alike_gives_no_pair(rule: ChosenRule) -> None:
    assert rank([2, 2, 2], rule=rule) == (-1, -1, "rewards_alike")


def test_random_rule_draws_the_two_lowest_lots_and_the_reward_decides() -> None:
    rewards = [0.5, 3.0, 1.0, 2.0]
    assert rank(rewards, rule="random", lots=[7, 9, 3, 5]) == (3, 2, "")
    assert rank(rewards, rule="random", lots=[1, 9, 3, 5]) == (2, 0, "")


def test_random_rule_gives_no_pair_where_the_two_drawn_score_alike() -> None:
    assert rank([1.0, 1.0, 5.0], rule="random", lots=[0, 1, 2]) == (-1, -1, "rewards_alike")


def test_given_rule_takes_the_first_over_the_second_whatever_the_reward() -> None:
    assert rank([0.0, 9.0], rule="given") == (0, 1, "")
    assert rank([1.0, 1.0], rule="given") == (0, 1, "")
    assert rank([1.0, 0.0], blank=(1,), rule="given") == (0, 1, "blank")


def test_one_response_gives_no_pair() -> None:
    assert rank([2.5]) == (-1, -1, "rewards_alike")


def test_five_equal_rewards_whose_float_mean_rounds_above_them_give_no_pair() -> None:
    assert np.array([[0.11] * 5]).mean(axis=1)[0] > 0.11
    assert rank([0.11] * 5) == (-1, -1, "rewards_alike")


def test_five_equal_rewards_whose_float_mean_rounds_below_them_give_no_pair() -> None:
    # every response is then above the mean, and the first would be both chosen and rejected
    assert np.array([[0.47] * 5]).mean(axis=1)[0] < 0.47
    assert rank([0.47] * 5) == (-1, -1, "rewards_alike")


def test_mean_that_rounds_up_to_the_largest_reward_gives_no_pair() -> None:
    # 1 + u and 1 + 2u: doubles near 2 lie 2u apart, so the sum 2 + 3u rounds to the even 2 + 4u
    rewards = [1.0 + ULP, 1.0 + 2 * ULP]
    assert np.array([rewards]).mean(axis=1)[0] == rewards[1]
    assert rank(rewards) == (-1, -1, "rewards_alike")


@pytest.mark.parametrize("side", [0, 2])
def test_blank_side_drops_the_pair_without_a_second_choice(side: int) -> None:
    # mean 2.5: column 2 (3 tokens) is chosen before column 1 (4), column 0 is rejected
    assert rank([0, 5, 4, 1], [2, 4, 3, 2], blank=(side,)) == (2, 0, "blank")


def test_blank_response_outside_the_pair_counts_in_the_mean_alone() -> None:
    # with the blank 9 the mean is 5 and only columns 2 and 3 exceed it; without it column 1 would
    assert rank([1, 4, 6, 9], [9, 1, 5, 8], blank=(3,)) == (2, 0, "")


def test_pair_of_one_text_is_dropped() -> None:
    assert rank([0, 5, 1], texts="aab") == (1, 0, "same_text")


def test_same_text_outside_the_pair_does_no_harm() -> None:
    assert rank([0, 5, 1], texts="abb") == (1, 0, "")


def test_blank_is_named_before_same_text() -> None:
    assert rank([0, 5], blank=(0, 1), texts="aa") == (1, 0, "blank")


def test_response_without_a_reward_is_out_of_the_mean() -> None:
    # mean 9 / 3 = 3: column 3 alone exceeds it; with a 0 for column 0 it would be 9 / 4, which
    # column 2 exceeds, too, and is shorter
    assert rank([NONE, 1, 2.5, 5.5], [1, 9, 2, 9]) == (3, 1, "")


def test_shortest_or_lowest_response_is_passed_over_if_it_has_no_reward() -> None:
    # mean 15 / 3 = 5: of columns 1 and 2 the one above it; column 0 is the shortest of all
    assert rank([NONE, 4, 8, 3], [1, 5, 5, 5]) == (2, 3, "")
    assert rank([3, 4, 8, NONE], [5, 5, 5, 1]) == (2, 0, "")


def test_highest_rule_passes_over_a_response_without_a_reward() -> None:
    assert rank([NONE, 1, 4, 2], rule="highest") == (2, 1, "")


def test_random_rule_draws_among_the_scored() -> None:
    # the lowest lots are those of columns 1, 3 and 2; column 1 has no reward
    rewards = [0.5, NONE, 1.0, 2.0]
    assert rank(rewards, rule="random", lots=[9, 1, 5, 3]) == (3, 2, "")


def test_random_rule_passes_over_an_unscored_lot_even_among_the_largest_numbers() -> None:
    most = np.iinfo(np.int64).max
    assert rank([NONE, 1.0, 2.0], rule="random", lots=[0, most, most]) == (2, 1, "")


@pytest.mark.parametrize("rewards", [[NONE, 1.0], [1.0, NONE], [NONE, NONE]])
def test_given_pair_with_a_side_that_has_no_reward_is_no_pair(rewards: list[float]) -> None:
    assert rank(rewards, rule="given") == (-1, -1, "unscored")


@pytest.mark.parametrize("rule", ["shortest_above_mean", "highest", "random"])
@pytest.mark.parametrize("rewards", [[NONE, NONE, NONE], [NONE, 2.0, NONE], [NONE]])
def test_prompt_with_fewer_than_two_scored_responses_gives_no_pair(
    rewards: list[float], rule: ChosenRule
) -> None:
    assert rank(rewards, rule=rule) == (-1, -1, "unscored")


def test_scored_responses_that_are_alike_are_alike_whatever_the_unscored() -> None:
    assert rank([2.0, NONE, 2.0]) == (-1, -1, "rewards_alike")


@pytest.mark.parametrize("wrong", [float("inf"), -float("inf")])
def test_infinite_reward_is_refused(wrong: float) -> None:
    with pytest.raises(ValueError, match=r"^rewards of prompt 0: "):
        rank([1.0, wrong])


def test_arrays_of_different_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^shapes differ: "):
        rank([1.0, 2.0], [3])


def test_tolerance_divides_by_the_number_of_prompts() -> None:
    # mean 2, squared deviations 1 and 1: sqrt(2 / 2) = 1; by n - 1 it would be sqrt(2)
    assert tolerance(np.array([1.0, 3.0])) == 1.0


def test_tolerance_of_eight_rewards_worked_by_hand() -> None:
    # mean 40 / 8 = 5; squares 9 + 1 + 1 + 1 + 0 + 0 + 4 + 16 = 32; sqrt(32 / 8) = 2
    assert tolerance(np.array([2.0, 4, 4, 4, 5, 5, 7, 9])) == 2.0


def test_tolerance_of_one_reward_is_zero() -> None:
    assert tolerance(np.array([4.25])) == 0.0


@pytest.mark.parametrize("rewards", [[], [1.0, float("nan")], [float("inf")]])
def test_tolerance_needs_finite_rewards(rewards: list[float]) -> None:
    with pytest.raises(ValueError, match=r"^epsilon_t needs at least one reward"):
        tolerance(np.array(rewards))


def test_margin_of_exactly_minus_epsilon_is_dropped() -> None:
    assert kept([-0.5], 0.5) == ["margin"]


def test_slightly_negative_margin_is_kept() -> None:
    assert kept([-0.49, 0.0, 0.1], 0.5) == ["", "", ""]


def test_margin_below_minus_epsilon_is_dropped() -> None:
    assert kept([-0.51, -7.0], 0.5) == ["margin", "margin"]


def test_with_epsilon_zero_a_margin_of_zero_is_dropped() -> None:
    # 0 <= -0
    assert kept([0.0, 0.1], 0.0) == ["margin", ""]


def test_rule_none_keeps_any_margin() -> None:
    assert kept([-1e9, 0.0, 3.0], 0.5, "none") == ["", "", ""]


def test_rule_positive_keeps_margins_above_zero_alone() -> None:
    assert kept([-0.1, 0.0, 0.1], 0.5, "positive") == ["margin", "margin", ""]


@pytest.mark.parametrize("rule", get_args(FilterRule))
def test_blank_and_same_texts_are_dropped_under_every_rule(rule: FilterRule) -> None:
    assert kept([9.0, 9.0, -9.0], 0.5, rule, blank=(0, 2), same=(1, 2)) == [
        "blank",
        "same_text",
        "blank",
    ]


@pytest.mark.parametrize("rule", get_args(FilterRule))
def test_pair_with_a_side_that_has_no_reward_is_dropped_under_every_rule(rule: FilterRule) -> None:
    found = kept([NONE, 9.0, NONE, NONE], 0.5, rule, blank=(2,), same=(3,))
    assert found == ["unscored", "", "unscored", "unscored"]


def test_infinite_margin_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^margins must be finite"):
        kept([1.0, float("inf")], 0.5)


@st.composite
def prompts(draw: st.DrawFn) -> dict[str, np.ndarray]:
    """Rewards, lengths and lots of 0 to 5 prompts; small numbers, so that ties occur."""
    rows, width = draw(st.integers(0, 5)), draw(st.integers(1, 5))

    def array(elements: st.SearchStrategy[float], dtype: type) -> np.ndarray:
        flat = draw(st.lists(elements, min_size=rows * width, max_size=rows * width))
        return np.array(flat, dtype=dtype).reshape(rows, width)

    thirds = st.integers(-4, 4).map(lambda number: number / 3)
    return {
        "rewards": array(thirds, np.float64),
        "lengths": array(st.integers(1, 3), np.int64),
        "lots": array(st.integers(0, 9), np.int64),
    }


def rank_all(values: dict[str, np.ndarray], rule: ChosenRule) -> RankedPairs:
    return rank_pairs(**values, rule=rule)


rules = st.sampled_from(get_args(ChosenRule))
judged = st.sampled_from([rule for rule in get_args(ChosenRule) if rule != "given"])


@given(prompts(), rules, st.randoms())
def test_pairs_do_not_depend_on_the_other_prompts_or_their_order(
    values: dict[str, np.ndarray], rule: ChosenRule, random: "np.random.Generator"
) -> None:
    order = list(range(len(values["rewards"])))
    random.shuffle(order)
    whole = rank_all(values, rule)
    shuffled = rank_all({name: array[order] for name, array in values.items()}, rule)
    assert shuffled.chosen.tolist() == whole.chosen[order].tolist()
    assert shuffled.rejected.tolist() == whole.rejected[order].tolist()


@given(prompts(), judged)
def test_chosen_never_scores_below_rejected(
    values: dict[str, np.ndarray], rule: ChosenRule
) -> None:
    found = rank_all(values, rule)
    for row in np.flatnonzero(found.chosen >= 0):
        rewards = values["rewards"][row]
        assert rewards[found.chosen[row]] > rewards[found.rejected[row]]
        assert rule == "random" or rewards[found.rejected[row]] == min(rewards)


@given(prompts(), rules)
def test_prompt_has_both_sides_of_a_pair_or_neither(
    values: dict[str, np.ndarray], rule: ChosenRule
) -> None:
    found = rank_all(values, rule)
    assert len(found.chosen) == len(found.rejected) == len(values["rewards"])
    assert ((found.chosen < 0) == (found.rejected < 0)).all()
    assert (found.chosen[found.chosen >= 0] != found.rejected[found.chosen >= 0]).all()


@given(prompts(), judged)
def test_unscored_responses_change_nothing_about_the_others(
    values: dict[str, np.ndarray], rule: ChosenRule
) -> None:
    # Columns without a reward, put in front, move the others' places and nothing else.
    rows, width = values["rewards"].shape
    if width < 2:
        return
    wider = {
        "rewards": np.hstack([np.full((rows, 2), NONE), values["rewards"]]),
        "lengths": np.hstack([np.ones((rows, 2), np.int64), values["lengths"]]),
        "lots": np.hstack([np.zeros((rows, 2), np.int64), values["lots"]]),
    }
    before, after = rank_all(values, rule), rank_all(wider, rule)
    assert not after.unscored.any()
    for one, other in ((before.chosen, after.chosen), (before.rejected, after.rejected)):
        assert np.where(one < 0, -1, one + 2).tolist() == other.tolist()


flags = st.lists(st.tuples(st.integers(-3, 4), st.booleans(), st.booleans()), max_size=8)


@given(flags)
def test_every_ranked_pair_is_kept_or_has_the_first_reason_that_holds(
    pairs: list[tuple[int, bool, bool]],
) -> None:
    columns = np.array(pairs, dtype=np.int64).reshape(-1, 3).T
    # -2 and -3 stand for too few rewards, -3 for too few only without those that were cut.
    few, cut = columns[0] < -1, columns[0] == -3
    found = filter_ranked_pairs(columns[0], few, cut, columns[1] == 1, columns[2] == 1)
    assert found == [
        "cut"
        if chosen == -3
        else "unscored"
        if chosen == -2
        else "rewards_alike"
        if chosen < 0
        else "blank"
        if blank
        else "same_text"
        if same
        else ""
        for chosen, blank, same in pairs
    ]


margins = st.lists(st.integers(-6, 6).map(lambda number: number / 2), max_size=8)


@given(margins, st.floats(0, 4), st.floats(0, 4))
def test_larger_epsilon_keeps_at_least_the_same_pairs(
    values: list[float], one: float, other: float
) -> None:
    few, many = kept(values, min(one, other)), kept(values, max(one, other))
    assert all(late == "" for early, late in zip(few, many, strict=True) if early == "")


@given(margins, st.floats(0, 4))
def test_rules_keep_ever_more_from_positive_to_tolerance_to_none(
    values: list[float], epsilon: float
) -> None:
    by_rule = [kept(values, epsilon, rule) for rule in ("positive", "tolerance", "none")]
    counts = [reasons.count("") for reasons in by_rule]
    assert counts == sorted(counts)
    assert all(len(reasons) == len(values) for reasons in by_rule)


def test_mean_rounded_to_below_the_lowest_reward_does_not_make_the_lowest_chosen() -> None:
    low, high = 0.6810463571010057, 0.6810463571010058
    rewards = np.array([[low, high, low]])
    assert rewards.mean() < low  # the corner: in real numbers the mean is above it
    found = rank_pairs(rewards, np.array([[2, 2, 1]]), np.arange(3)[None], "shortest_above_mean")
    assert (found.chosen.tolist(), found.rejected.tolist()) == ([1], [0])


def test_tolerance_of_equal_rewards_is_zero_however_their_mean_is_rounded() -> None:
    rewards = np.full(3, 0.1)
    assert rewards.std() > 0  # the corner
    assert tolerance(rewards) == 0


@pytest.mark.parametrize(
    ("rule", "expected"),
    [("none", [False] * 4), ("last", [False, False, True, True]), ("all", [True] * 4)],
)
def test_pairs_made_in_the_iteration_before_or_in_all_earlier_ones_are_carried(
    rule: Accumulated, expected: list[bool]
) -> None:
    assert carried(np.array([1, 2, 3, 3]), 4, rule).tolist() == expected


def test_iteration_that_made_no_pair_leaves_the_last_rule_nothing_to_carry() -> None:
    # the mix of t - 1 = 3 holds pairs of 2 only
    assert carried(np.array([2, 2]), 4, "last").tolist() == [False, False]


def test_side_that_follows_more_instructions_is_labelled_chosen_and_equal_gold_labels_none() -> (
    None
):
    own, previous = np.array([1.0, 0.5, 0.0, 1 / 3]), np.array([0.5, 0.5, 1.0, 2 / 3])
    assert labels_by_gold(own, previous).tolist() == [1, 0, -1, -1]


@pytest.mark.parametrize("rule", get_args(FilterRule))
def test_pair_of_equal_gold_is_dropped_whatever_its_margin_and_says_so(rule: FilterRule) -> None:
    nothing, tied = np.zeros(4, bool), np.array([True, True, False, True])
    same = np.array([False, False, False, True])
    margins = np.array([9.0, NONE, 9.0, 9.0])
    found = filter_pseudo_pairs(margins, 1.0, nothing, same, rule, tied)
    assert found == ["gold_tie", "unscored", "", "same_text"]


@pytest.mark.parametrize(
    ("share", "drawn"),
    [
        (0.01, [False, True, False, False]),  # .04 is rounded to none, but one is drawn at least
        (0.5, [False, True, False, True]),
        (0.7, [True, True, False, True]),  # 2.8: three
        (1.0, [True, True, True, True]),
    ],
)
def test_seed_pairs_of_the_lowest_lots_are_drawn(share: float, drawn: list[bool]) -> None:
    assert drawn_seeds(np.array([7, 2, 9, 4]), share).tolist() == drawn
