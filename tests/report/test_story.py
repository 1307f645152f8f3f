"""The story of a run: each sentence follows from its numbers."""

import pytest

from mutual_taught.method.statistics import Interval
from mutual_taught.report import story
from mutual_taught.report.before_after import Change
from mutual_taught.report.past import Past

ONE = {"win_rate": 0.75, "win_rate_ci_lo": 0.5, "win_rate_ci_hi": 0.9, "step": 16.0}


def change(name: str, low: float, high: float, digits: int = 3, p: float = 0.01) -> Change:
    """Make a change from 0.5 whose difference lies in the middle of its interval."""
    mean = (low + high) / 2
    before, after = (Interval(value, 0, 1, 96) for value in (0.5, 0.5 + mean))
    return Change(name, before, after, Interval(mean, low, high, 96), p, digits)


def told(*metrics: dict[str, dict[str, float]], threshold: float | None = 0.6) -> list[str]:
    history = [Past(t, numbers) for t, numbers in enumerate(({}, *metrics))]
    return story.sentences(story.Told(history, threshold, [], []))


def test_iteration_that_went_on_names_its_candidate_and_the_threshold() -> None:
    assert told({"select_policy": {**ONE, "active": 1.0}}) == [
        "Iteration 1 went on: its best candidate (checkpoint 16) won 0.750 [0.500, 0.900] of its "
        "duels against π_0, τ is 0.600."
    ]


def test_iteration_that_stopped_says_so_and_which_models_are_final() -> None:
    lost = {"select_policy": {"win_rate": 0.35, "step": 8.0, "active": 0.0}}
    assert told({"select_policy": {**ONE, "active": 1.0}}, lost)[1:] == [
        "Iteration 2 stopped: its best candidate (checkpoint 8) won 0.350 of its duels against "
        "π_1, below τ 0.600.",
        "The final policy is π_1, the final reward model r_1.",
    ]


def test_without_a_threshold_the_last_checkpoint_was_taken() -> None:
    assert told({"select_policy": {**ONE, "active": 1.0}}, threshold=None) == [
        "Iteration 1 took its last checkpoint: it won 0.750 [0.500, 0.900] of its duels."
    ]


def test_threshold_that_is_not_known_is_not_taken_for_none() -> None:
    won = {"select_policy": {**ONE, "active": 1.0, "null_passes": 0.1}}
    lost = {"select_policy": {"win_rate": 0.35, "step": 8.0, "active": 0.0, "null_passes": 0.1}}
    assert told(won, lost, threshold=None)[:2] == [
        "Iteration 1 went on: its best candidate (checkpoint 16) won 0.750 [0.500, 0.900] of its "
        "duels against π_0.",
        "Iteration 2 stopped: its best candidate (checkpoint 8) won 0.350 of its duels against "
        "π_1, below τ.",
    ]


def test_difference_of_one_prompt_is_not_said_to_have_risen() -> None:
    point = Interval(0.1, 0.1, 0.1, 1)
    alone = Change("gold", point, point, point, 1.0)
    says = "Gold did not change clearly: +0.100 [0.100, 0.100] on the same 1 prompt (p 1.000)."
    assert story.moved("Gold", alone, "") == says


def test_start_alone_has_one_sentence() -> None:
    assert told() == ["Only the start was measured: no iteration has ended yet."]


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.1, 0.2, "Gold rose by 0.150 [0.100, 0.200] on the same 96 prompts (p 0.010)."),
        (-0.2, -0.1, "Gold fell by 0.150 [0.100, 0.200] on the same 96 prompts (p 0.010)."),
        (
            -0.1,
            0.2,
            "Gold did not change clearly: +0.050 [-0.100, 0.200] on the same 96 prompts (p 0.010).",
        ),
    ],
)
def test_number_moved_where_its_interval_leaves_out_zero(
    low: float, high: float, expected: str
) -> None:
    assert story.moved("Gold", change("gold", low, high), "") == expected


@pytest.mark.parametrize(("p", "shown"), [(0.0001, "< 0.001"), (0.001, "0.001"), (0.25, "0.250")])
def test_p_is_shown_down_to_a_thousandth(p: float, shown: str) -> None:
    assert story.shown_p(p) == shown


def whole(policy: list[Change], reward_model: list[Change], **eval_: float) -> list[str]:
    went = {"select_policy": {"active": 1.0}, "eval": eval_}
    history = [Past(0, {}), Past(1, went)]
    return story.sentences(story.Told(history, 0.6, policy, reward_model))


def test_policy_and_reward_model_are_told_by_their_changes() -> None:
    lengths = change("length, tokens", -5.0, -3.0, 1)
    assert whole(
        [change("gold", 0.1, 0.2), lengths], [change("right on own samples", -0.2, -0.1, p=0.002)]
    ) == [
        "Gold rose by 0.150 [0.100, 0.200] from π_0 to π_1 on the same 96 prompts (p 0.010).",
        "Answers became shorter: 0.5 tokens, then -3.5.",
        "On pairs of π_1's own answers r_1 is right on 0.350, r_0 on 0.500: r_1 is worse "
        "(-0.150 [-0.200, -0.100], p 0.002).",
    ]


def test_reward_model_whose_interval_has_zero_is_no_clear_difference() -> None:
    assert whole([], [change("right on gold pairs", -0.1, 0.1)]) == [
        "On held-out gold pairs r_1 is right on 0.500, r_0 on 0.500: no clear difference "
        "(+0.000 [-0.100, 0.100], p 0.010)."
    ]


def test_own_prompts_are_told_by_the_judge() -> None:
    name = "policy.win_rate.vs_base.reward_model"
    found = whole([], [], **{f"{name}.mean": 0.9, f"{name}.ci_lo": 0.8, f"{name}.ci_hi": 0.95})
    assert found == [
        "Without instructions that a program checks there is no gold. r_0, the policy's first "
        "teacher, prefers π_1's answer to π_0's in 0.900 [0.800, 0.950] of all comparisons."
    ]


def test_kept_pseudo_pairs_are_named_iteration_by_iteration() -> None:
    kept = [{"build_pairs": {"kept": 9.0, "rows": 12.0}}, {"build_pairs": {"active": 0.0}}]
    assert told(*kept)[-1] == "The filter kept these pseudo pairs: 9 of 12 at t = 1."


def test_own_prompts_of_a_stopped_run_are_told_by_the_judge_of_its_last_policy() -> None:
    name = "policy.win_rate.vs_base.reward_model"
    won = {f"{name}.mean": 0.9, f"{name}.ci_lo": 0.8, f"{name}.ci_hi": 0.95, "active": 1.0}
    went = {"select_policy": {"active": 1.0}, "eval": won}
    lost = {"select_policy": {"active": 0.0}, "eval": {"active": 0.0}}
    assert "prefers π_1's answer to π_0's in 0.900" in told(went, lost)[-1]


def test_numbers_that_are_told_apart_are_shown_apart() -> None:
    lost = {"select_policy": {"win_rate": 0.5996, "step": 8.0, "active": 0.0}}
    assert "won 0.5996 of its duels against π_0, below τ 0.600." in told(lost)[0]
    small = change("gold", 0.0001, 0.0003)
    assert story.moved("Gold", small, "").startswith("Gold rose by 0.0002 [0.0001, 0.0003]")
    longer = change("length, tokens", 0.02, 0.04, 1)
    assert whole([longer], []) == ["Answers became longer: 0.50 tokens, then 0.53."]


def test_zero_has_no_sign_of_less() -> None:
    nothing = change("gold", -0.0007, 0.0003)
    assert "+0.000 [-0.001, 0.000]" in story.moved("Gold", nothing, "")
