"""Which response a judge finds better, and which pairs of own responses differ in gold."""

from typing import Any

import pyarrow as pa

from mutual_taught.evaluation.judge import Systems, judge, own_pairs
from tests.evaluation.responses import generations, golds


def outcomes(judged: pa.Table, judge_name: str, other: str) -> list[float]:
    rows = judged.to_pylist()
    return [
        row["outcome"] for row in rows if (row["judge"], row["system_b"]) == (judge_name, other)
    ]


def test_higher_gold_wins_and_equal_gold_is_half_a_win() -> None:
    own = generations(*golds(1.0, 0.5, 0.5))
    base = generations(*golds(0.5, 0.5, 1.0))
    # 1 > 1/2 is won, 1/2 = 1/2 a tie, 1/2 < 1 lost
    assert outcomes(judge(Systems(own, base, own)), "verifiable", "base") == [1.0, 0.5, 0.0]


def test_every_policy_is_compared_with_the_base_and_with_the_one_before() -> None:
    own, base, previous = (generations(*golds(gold)) for gold in (0.5, 0.0, 1.0))
    judged = judge(Systems(own, base, previous))
    # 1/2 beats the base's 0 and loses against the previous policy's 1
    assert outcomes(judged, "verifiable", "base") == [1.0]
    assert outcomes(judged, "verifiable", "previous") == [0.0]
    assert set(judged["system_a"].to_pylist()) == {"policy"}


def test_reward_model_that_judges_is_r_0_whatever_r_t_says() -> None:
    own = generations({"reward_r0": 1.0, "reward_rt": 9.0})
    base = generations({"reward_r0": 2.0, "reward_rt": 0.0})
    # r_0: 1 < 2, lost; r_t, which the policy was trained with, would say won
    assert outcomes(judge(Systems(own, base, own)), "reward_model", "base") == [0.0]


def test_teacher_judges_each_response_by_the_reward_model_that_taught_it() -> None:
    # r_{t-1} gives the new response 2; the previous policy's own r_t, which is r_{t-1}, gave 3
    own = generations({"reward_previous": 2.0, "reward_rt": 9.0, "reward_r0": 9.0})
    previous = generations({"reward_previous": 8.0, "reward_rt": 3.0, "reward_r0": 0.0})
    judged = judge(Systems(own, own, previous))
    assert outcomes(judged, "previous_reward_model", "previous") == [0.0]
    row = judged.to_pylist()[-1]
    assert (row["raw_a"], row["raw_b"]) == (2.0, 3.0)


def test_teacher_judges_against_the_previous_policy_only() -> None:
    own = generations({})
    assert outcomes(judge(Systems(own, own, own)), "previous_reward_model", "base") == []


def test_response_that_the_teacher_cannot_read_loses_and_is_said_to_be_unread() -> None:
    own = generations({"reward_previous": None}, {"reward_previous": None})
    previous = generations({"reward_rt": 1.0}, {"reward_rt": None})
    judged = judge(Systems(own, own, previous))
    # without a reward against one: lost; against none: a tie
    assert outcomes(judged, "previous_reward_model", "previous") == [0.0, 0.5]
    assert judged.to_pylist()[-1]["parse_ok"] is False


def test_prompt_without_instructions_is_judged_by_the_reward_models_only() -> None:
    own = generations(*golds(0.5, prompt="a"), *golds(None, prompt="b"))
    judged = judge(Systems(own, own, own)).to_pylist()
    names = ("verifiable", "reward_model", "previous_reward_model")
    by_judge: dict[str, list[str]] = {name: [] for name in names}
    for row in judged:
        by_judge[row["judge"]].append(row["prompt_id"])
    # against two systems each: `a` by gold, `a` and `b` by r_0; against one by r_{t-1}
    assert by_judge == {
        "verifiable": ["a", "a"],
        "reward_model": ["a", "b", "a", "b"],
        "previous_reward_model": ["a", "b"],
    }


def test_judgement_carries_both_values_and_both_lengths_of_its_own_row() -> None:
    own = generations({"length_tokens": 3}, {"reward_r0": 1.5, "length_tokens": 7})
    base = generations({"length_tokens": 4}, {"reward_r0": -2.0, "length_tokens": 9})
    row = judge(Systems(own, base, own)).to_pylist()[1]
    assert (row["judge"], row["system_b"], row["response_index"]) == ("reward_model", "base", 1)
    assert (row["raw_a"], row["raw_b"]) == (1.5, -2.0)
    assert (row["length_a"], row["length_b"]) == (7, 9)
    assert row["parse_ok"]


def scored(rows: pa.Table, model: str) -> list[tuple[float, float]]:
    return [
        (row["reward_chosen"], row["reward_rejected"])
        for row in rows.to_pylist()
        if row["reward_model"] == model
    ]


def response(gold: float | None, r0: float, rt: float, text: str = "text") -> dict[str, Any]:
    return {"gold": gold, "reward_r0": r0, "reward_rt": rt, "response": text}


def test_own_pair_has_the_response_of_higher_gold_as_chosen_whatever_the_rewards() -> None:
    own = generations(response(0.0, 5.0, 50.0), response(1.0, 6.0, 40.0))
    pairs = own_pairs(own)
    # the second response has gold 1: r_0 gives 6 and 5 (right), r_t 40 and 50 (wrong)
    assert scored(pairs, "r0") == [(6.0, 5.0)]
    assert scored(pairs, "rt") == [(40.0, 50.0)]
    assert len(set(pairs["pair_id"].to_pylist())) == 1


def test_own_responses_of_equal_gold_are_no_pair() -> None:
    # of golds 1, 1/2, 1/2 the first is better than each of the others: two pairs, not three
    own = generations(response(1.0, 1.0, 0.0), response(0.5, 2.0, 0.0), response(0.5, 3.0, 0.0))
    pairs = own_pairs(own)
    assert scored(pairs, "r0") == [(1.0, 2.0), (1.0, 3.0)]
    assert len(set(pairs["pair_id"].to_pylist())) == 2


def test_own_pairs_are_of_one_prompt() -> None:
    # golds 0 and 1 of `a`, 1/2 of `b`: one pair, though 1/2 lies between
    own = generations(*golds(0.0, 1.0, prompt="a"), *golds(0.5, prompt="b"))
    assert own_pairs(own)["prompt_id"].to_pylist() == ["a", "a"]  # under r_0 and under r_t


def test_own_pair_gives_lengths_in_characters() -> None:
    own = generations(response(0.0, 0, 0, "long text"), response(1.0, 0, 0, "short"))
    row = own_pairs(own).to_pylist()[0]
    assert (row["length_chosen"], row["length_rejected"]) == (5, 9)


def test_responses_without_gold_are_in_no_own_pair() -> None:
    assert len(own_pairs(generations(*golds(None, None)))) == 0
    assert len(own_pairs(generations(*golds(1.0, None)))) == 0
