"""Alarms: each is raised just above its threshold, by numbers worked by hand, and not at it."""

import json
from pathlib import Path
from typing import Any

import pytest

from mutual_taught.artifacts import files
from mutual_taught.report import alarms
from tests import project

Numbers = dict[str, float]


def history(own: Numbers, base: Numbers | None = None, **stages: Numbers) -> list[dict[str, Any]]:
    """Give iterations 0 and 1: evaluations, and the numbers of other stages of iteration 1."""
    first = {"eval": {"active": 1.0, **(base or {})}}
    second = {"eval": {"active": 1.0, **own}, **stages}
    return [{"iteration": 0, "metrics": first}, {"iteration": 1, "metrics": second}]


def names(found: list[dict[str, Any]]) -> list[str]:
    return [alarm.name for alarm in alarms.raised(found)]


def said(found: list[dict[str, Any]]) -> str:
    [alarm] = alarms.raised(found)
    return str(alarm)


def duel(low: float, gold_high: float) -> Numbers:
    """r_{t-1} prefers the new responses in 0.7 of the duels; gold changed by -0.04."""
    rate, gold = "policy.win_rate.vs_previous.previous_reward_model", "policy.gold_vs_previous"
    return {
        f"{rate}.mean": 0.7,
        f"{rate}.ci_lo": low,
        f"{gold}.mean": -0.04,
        f"{gold}.ci_hi": gold_high,
    }


def test_teacher_that_prefers_responses_of_lower_gold_is_an_alarm() -> None:
    assert said(history(duel(0.6, -0.01))) == (
        "Alarm at t = 1: r_0 prefers the new answers (0.70 of the duels) and gold fell by 0.040; "
        "try a larger dpo.beta, a lower dpo.learning_rate or fewer epochs."
    )


@pytest.mark.parametrize("numbers", [duel(0.5, -0.01), duel(0.6, 0.0), {}])
def test_teacher_and_gold_that_do_not_clearly_part_are_no_alarm(numbers: Numbers) -> None:
    assert names(history(numbers)) == []


def test_independent_judge_that_prefers_the_old_responses_is_an_alarm_without_gold() -> None:
    numbers = {name: value for name, value in duel(0.6, 0.0).items() if "gold" not in name}
    judge = "policy.win_rate.vs_previous.alpaca_eval.some-model"
    found = history(numbers, judge={"active": 1.0, f"{judge}.mean": 0.4, f"{judge}.ci_hi": 0.49})
    assert "and alpaca_eval.some-model the old ones" in said(found)
    assert names(history(numbers, judge={"active": 1.0, f"{judge}.ci_hi": 0.5})) == []
    assert names(history(numbers, judge={"active": 0.0, f"{judge}.ci_hi": 0.49})) == []


def length(now: float, base: float, previous: float) -> Numbers:
    return {
        "policy.length_tokens.mean": now,
        "policy.length_tokens_vs_base.mean": now - base,
        "policy.length_tokens_vs_previous.mean": now - previous,
    }


@pytest.mark.parametrize(
    ("numbers", "what"),
    [
        # 74 of 100 is 26 % less, 126 of 100 as much more
        (length(74, 100, 74), "answers are 26% shorter than those of π_0 (100.0, now 74.0 tokens)"),
        (length(126, 100, 126), "answers are 26% longer than those of π_0"),
        (length(63, 63, 50), "answers are 26% longer than those of π_0 (50.0, now 63.0 tokens)"),
    ],
)
def test_length_that_moved_by_more_than_a_quarter_is_an_alarm(numbers: Numbers, what: str) -> None:
    assert what in said(history(numbers))


@pytest.mark.parametrize("now", [75, 100, 125])
def test_length_that_moved_by_a_quarter_is_none(now: float) -> None:
    assert names(history(length(now, 100, 100))) == []


def test_more_cut_and_more_empty_responses_are_alarms_of_their_own() -> None:
    base = {"policy.truncated_rate": 0.25, "policy.empty_rate": 0.0}
    worse = {"policy.truncated_rate": 0.5, "policy.empty_rate": 0.125}
    assert names(history(worse, base)) == ["more_truncated", "more_empty"]
    assert "50% of the answers are cut at the limit, 25% of π_0's" in str(
        alarms.raised(history(worse, base))[0]
    )


def test_share_that_rose_by_a_twentieth_or_fell_is_no_alarm() -> None:
    base = {"policy.truncated_rate": 0.5, "policy.empty_rate": 0.0}
    assert names(history({"policy.truncated_rate": 0.1, "policy.empty_rate": 0.05}, base)) == []


def test_policy_more_than_a_nat_a_token_from_the_base_is_an_alarm() -> None:
    name = "policy.kl.k1_per_token"
    assert "1.01 nats a token from π_0, more than 1" in said(history({name: 1.01}))
    assert names(history({name: 1.0})) == []


def test_reward_model_that_is_clearly_worse_than_the_base_is_an_alarm() -> None:
    name = "reward_model.own_samples.difference"
    worse = {f"{name}.mean": -0.028, f"{name}.ci_hi": -0.007}
    assert "r_1 is right 0.028 less often than r_0 on pairs of its own answers" in said(
        history(worse)
    )
    assert names(history({**worse, f"{name}.ci_hi": 0.0})) == []


@pytest.mark.parametrize(
    ("numbers", "name"),
    [
        (duel(0.6, -0.01), "policy.gold_vs_previous"),
        (duel(0.6, -0.01), "policy.win_rate.vs_previous.previous_reward_model"),
        (
            {"reward_model.own_samples.difference.ci_hi": -0.5},
            "reward_model.own_samples.difference",
        ),
    ],
)
def test_interval_of_too_few_prompts_raises_nothing(numbers: Numbers, name: str) -> None:
    few = {**numbers, f"{name}.mean": -0.5, f"{name}.p": 0.25}  # of three prompts at least that
    assert names(history(few)) == []
    assert len(names(history({**few, f"{name}.p": 0.03}))) == 1


def selection(**numbers: float) -> Numbers:
    found = {"active": 1.0, "win_rate": 0.7, "candidates": 2.0, "n": 40.0, **numbers}
    return {"candidates_below_half": 0.0, **found}


def test_candidates_that_all_lose_are_an_alarm_and_one_that_does_not_is_none() -> None:
    lose = history({}, select_policy=selection(candidates_below_half=2.0))
    assert "each of the 2 candidates won less than half of its duels against π_0;" in said(lose)
    assert names(history({}, select_policy=selection(candidates_below_half=1.0))) == []


def test_candidates_whose_ties_count_as_losses_are_not_said_to_have_lost() -> None:
    numbers = selection(candidates=1.0, candidates_below_half=1.0, tie_counts_as=0.0)
    what = "the one candidate won less than half of its duels against π_0, a tie being a loss;"
    assert what in said(history({}, select_policy=numbers))


def test_share_that_is_not_known_of_the_base_raises_nothing() -> None:
    assert names(history({"policy.truncated_rate": 0.9, "policy.empty_rate": 0.9})) == []


def test_chance_that_a_policy_that_is_no_better_passes_is_an_alarm_above_a_tenth() -> None:
    # 40 prompts, two candidates, tau 0.6: 1 - P(X < 24)^2 = 0.25
    lucky = history({}, select_policy=selection(null_passes=0.25))
    assert "passes τ in 25% of cases with 40 prompts and 2 candidates" in said(lucky)
    assert names(history({}, select_policy=selection(null_passes=0.1))) == []


def test_stopped_iteration_has_no_alarms_of_the_evaluation_it_carries_on() -> None:
    found = history({**length(50, 100, 100), "active": 0.0}, select_policy={"active": 0.0})
    assert names(found) == []


def test_iteration_zero_raises_nothing() -> None:
    assert names(history({}, length(50, 100, 100))[:1]) == []
    assert alarms.numbers(history({})[:1]) == {"alarms": 0.0}


def test_numbers_count_the_alarms_of_the_last_iteration_by_name() -> None:
    past = history(length(50, 100, 100))
    assert alarms.numbers(past) == {"alarms": 1.0, "length_moved": 1.0}
    calm = {"iteration": 2, "metrics": {"eval": {"active": 1.0}}}
    assert alarms.numbers([*past, calm]) == {"alarms": 0.0}
    assert len(alarms.lines([*past, calm])) == 1


def test_every_alarm_is_one_line_of_plain_words() -> None:
    # every rule at once, so that a new rule without advice fails
    found = history(
        {
            **duel(0.6, -0.01),
            **length(50, 100, 100),
            "policy.truncated_rate": 1.0,
            "policy.empty_rate": 1.0,
            "policy.kl.k1_per_token": 2.0,
            "reward_model.gold_pairs.difference.mean": -0.1,
            "reward_model.gold_pairs.difference.ci_hi": -0.1,
        },
        {"policy.truncated_rate": 0.0, "policy.empty_rate": 0.0},
        select_policy=selection(candidates_below_half=2.0, null_passes=0.5),
    )
    assert len(set(names(found))) == len(alarms.RULES) + 1  # one rule raises two kinds
    for line in alarms.lines(found):
        assert "\n" not in line
        assert "; try " in line


def test_every_alarm_is_explained_in_the_docs() -> None:
    text = (project.ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    table = text.split("## Alarms")[1]
    for name in (
        "candidates_lose",
        "luck_passes",
        "over_optimised",
        "length_moved",
        "more_truncated",
        "more_empty",
        "far_from_base",
        "reward_model_worse",
    ):
        assert f"| `{name}` |" in table


def test_alarms_of_a_run_are_in_its_metrics_its_report_and_its_status(finished: Path) -> None:
    for t in ("1", "2"):
        past = [
            {"iteration": int(key), "metrics": all_metrics(finished / key / "metrics")}
            for key in map(str, range(int(t) + 1))
        ]
        assert files.read_json(finished / t / "metrics" / "alarms.json") == alarms.numbers(past)
        page = (finished / t / "report" / "report.md").read_text(encoding="utf-8")
        for line in alarms.lines(past):
            assert line in page


def all_metrics(folder: Path) -> dict[str, Any]:
    return {path.stem: json.loads(path.read_text()) for path in folder.glob("*.json")}
