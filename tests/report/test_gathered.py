"""What a report gathers of an iteration: samples, told from the tables of their split."""

from pathlib import Path
from typing import Any

import pyarrow as pa

from mutual_taught.artifacts import tables
from mutual_taught.report import gathered
from mutual_taught.report.gathered import Asked
from mutual_taught.report.samples import Response

ASKED = Asked(2, ["punctuation:no_comma"], ["{}"])


def row(**values: Any) -> dict[str, Any]:
    return {"finish_reason": "stop", "length_tokens": 3, "response_index": 0, **values}


def test_responses_are_marked_with_the_pair_first() -> None:
    responses = [
        row(response_index=place, response=text) for place, text in enumerate(("a", "b,", "c"))
    ]
    rewards = [{"response_index": place, "reward": value} for place, value in ((0, 1.0), (1, None))]
    pair = {"chosen_index": 2, "rejected_index": 1, "kept": False, "reason": "tie"}
    told = {"responses": responses, "rewards": rewards, "ranked_pairs": [pair]}
    shown, note = gathered._ranked(told, ASKED)
    assert [(one.who, one.mark) for one in shown] == [
        ("response 1", "rejected"),
        ("response 2", "chosen"),
        ("response 0", ""),
    ]
    assert note == "pair dropped: tie"
    assert shown[2].numbers == {"r_1": 1.0}  # r_{t-1} ranks
    assert shown[0].numbers == {}
    assert shown[2].followed == [1.0]
    assert shown[0].followed[0] < 1  # has a comma


def test_pseudo_pair_is_told_with_both_answers_and_its_margin() -> None:
    pair = {
        "response": "new",
        "previous_response": "old",
        "reward": 0.5,
        "previous_reward": 2.0,
        "reward_margin": -1.5,
        "kept": True,
        "reason": "",
    }
    shown, note = gathered._labelled({"pseudo_pairs": [pair]}, ASKED)
    assert [(one.who, one.text, one.numbers) for one in shown] == [
        ("π_2", "new", {"r_1": 0.5}),
        ("the answer before", "old", {"r_1": 2.0}),
    ]
    assert note == "pseudo pair kept, margin -1.500"


def test_duels_are_told_once_with_the_policy_before() -> None:
    def duel(step: int, outcome: float | None, draw: int = 0) -> dict[str, Any]:
        before = {
            "previous_response": "old",
            "previous_finish_reason": "stop",
            "previous_reward": 1.0,
        }
        own = row(response=f"new {step}", reward=2.0, response_index=draw)
        return {**own, **before, "step": step, "outcome": outcome}

    told = {"duels": [duel(8, 1.0), duel(8, 0.0, draw=1), duel(16, None)]}
    shown, _ = gathered._duelled(told, ASKED)
    assert [(one.who, one.text, one.mark) for one in shown] == [
        ("π_1", "old", ""),
        ("checkpoint 8", "new 8", "won"),
        ("checkpoint 16", "new 16", "left out"),
    ]


def test_eval_response_has_gold_by_instruction_and_both_rewards() -> None:
    found = row(response="a, b", gold=None, reward_r0=1.0, reward_rt=2.0)
    [response], note = gathered._evaluated({"generations": [found]}, ASKED)
    assert response.numbers == {"r_0": 1.0, "r_t": 2.0}
    assert response == Response(
        "answer 0", "a, b", 0, 3, "stop", response.numbers, response.followed
    )
    assert note == ""


PROMPTS = pa.table(
    {
        "prompt_id": ["a", "b"],
        "instruction_ids": [["punctuation:no_comma"], []],
        "instruction_kwargs": [["{}"], []],
    }
)


def pairs(**more: object) -> pa.Table:
    both = {"response": ["no", "yes"], "previous_response": ["a, b", "a, b"]}
    return pa.table({"prompt_id": ["a", "b"], **both, **more})


def test_pseudo_pairs_get_gold_where_their_prompt_has_instructions() -> None:
    found = gathered.with_gold(pairs(), PROMPTS, Path("reward.parquet"))
    assert found["gold"].to_pylist() == [1.0, None]  # of a without a comma; b asks for nothing
    [worse, none] = found["previous_gold"].to_pylist()
    assert none is None
    assert worse < 1


def test_gold_that_labelled_the_pairs_is_left_as_it_is() -> None:
    known = pairs(gold=tables.numbers(pa.array([0.5, 0.25]).to_numpy()))
    assert gathered.with_gold(known, PROMPTS, Path("reward.parquet")) is known


def test_samples_of_a_run_are_of_the_prompts_that_the_iteration_met(finished: Path) -> None:
    here = finished / "1"
    places = gathered.Inputs(here, here / "eval", finished / "0" / "splits")
    read = {**gathered.evaluated(places), **gathered.stepped(places)}
    found = gathered.shown(read, places.splits, 1)
    assert {sample.split for sample in found} == {"eval", "policy", "reward", "selection"}
    drawn = tables.read(here / "responses.parquet", tables.RESPONSES)
    ids = [sample.prompt_id for sample in found if sample.split == "policy"]
    assert ids == sorted(set(drawn["prompt_id"].to_pylist()))[:200]
