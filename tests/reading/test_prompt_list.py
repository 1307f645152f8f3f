"""`mutual-taught prompts` finds the prompt that one wants to see."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from mutual_taught.artifacts import tables
from mutual_taught.cli import main
from mutual_taught.reading import prompt_list
from mutual_taught.terminal.signs import visible


@pytest.fixture
def run(finished: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(finished.parent)
    return Path("run")


def test_split_takes_all_its_parts(run: Path) -> None:
    named = {row["split"] for row in prompt_list.prompts(run, "policy", "", None)}
    assert named == {"policy_1", "policy_2"}
    assert {row["split"] for row in prompt_list.prompts(run, "eval", "", None)} == {"eval"}


def test_text_is_found_as_it_is_in_small_letters_or_capitals(run: Path) -> None:
    every = prompt_list.prompts(run, None, "", None)
    word = every[0]["messages"][-1]["content"].split()[0]
    found = prompt_list.prompts(run, None, word.upper(), None)
    assert every[0] in found
    assert prompt_list.prompts(run, None, word + ".*", None) == []


def test_beginning_of_an_id_is_enough_for_trace(run: Path) -> None:
    row = prompt_list.prompts(run, "reward", "", None)[0]
    result = CliRunner().invoke(main, ["trace", row["id"]])
    assert result.exit_code == 0
    assert row["prompt_id"] in result.output


def test_worst_are_those_of_lowest_gold_then_of_greatest_loss() -> None:
    found = [
        {"prompt_id": name, "gold": gold}
        for name, gold in [("a", 0.5), ("b", 0.25), ("c", 0.5), ("d", 1.0), ("e", None)]
    ]
    worst = prompt_list._worst(found, {"a": 0.5, "b": 0.25, "c": 0.75, "d": 1.0}, 3, None)
    assert [row["prompt_id"] for row in worst] == ["b", "c", "a"]


def test_worst_of_a_split_without_gold_is_one_line(run: Path) -> None:
    result = CliRunner().invoke(main, ["prompts", "--worst", "3", "--split", "policy"])
    assert result.exit_code == 1
    assert result.output.startswith("Error: --worst: no such prompt has gold; expected ")


def test_long_list_says_how_many_more(run: Path) -> None:
    count = len(prompt_list.prompts(run, None, "", None))
    said = CliRunner().invoke(main, ["prompts", "--limit", "2"]).output.splitlines()
    assert len(said) == 3
    assert said[-1] == f"… and {count - 2} more (--limit 0 shows all)"
    assert len(CliRunner().invoke(main, ["prompts", "--limit", "0"]).output.splitlines()) == count
    assert all(len(line) <= 80 for line in said)


def test_dropped_rows_are_listed_with_their_reason(here: Path) -> None:
    columns = {"file": ["data/a.csv"], "row": [7], "reason": ["blank"], "excerpt": ["\x1b[1m"]}
    tables.write(here / "run/0", tables.DROPPED_PROMPTS, columns, {})
    result = CliRunner().invoke(main, ["prompts", "--dropped"])
    assert result.output == "data/a.csv row 7  blank  \\x1b[1m\n"


def test_json_gives_whole_prompts(run: Path) -> None:
    told = json.loads(CliRunner().invoke(main, ["prompts", "--split", "eval", "--json"]).output)
    assert [row["prompt_id"] for row in told] == [
        row["prompt_id"] for row in prompt_list.prompts(run, "eval", "", None)
    ]
    assert all(set(row) >= {"prompt_id", "messages", "gold"} for row in told)
    assert told


def test_random_prompt_is_the_same_for_the_same_seed(run: Path) -> None:
    drawn = [prompt_list.draw(run, "selection", seed) for seed in (1, 1, 2, 3, 4)]
    assert drawn[0] == drawn[1]
    assert len(set(drawn)) > 1


@pytest.mark.parametrize("options", [[], ["abcdef", "--random"], ["abcdef", "--split", "eval"]])
def test_trace_without_a_prompt_says_how_to_find_one(run: Path, options: list[str]) -> None:
    result = CliRunner().invoke(main, ["trace", *options])
    assert result.exit_code == 2
    assert "mutual-taught prompts lists the ids" in result.output


def test_full_story_has_whole_texts(run: Path) -> None:
    rows = pq.read_table("run/1/responses.parquet").to_pylist()
    longest = max(rows, key=lambda row: len(row["response"]))
    said = CliRunner().invoke(main, ["trace", longest["prompt_id"], "--full"]).output
    for line in longest["response"].splitlines():
        assert f"      | {visible(line)}\n" in said


def test_random_pair_is_one_of_the_mix(run: Path) -> None:
    mix = [pq.read_table(f"run/{t}/reward_pairs.parquet")["pair_id"].to_pylist() for t in "12"]
    assert prompt_list.draw_pair(run, 1) in mix[0] + mix[1]
    assert CliRunner().invoke(main, ["why", "--random", "--full"]).exit_code == 0
    assert CliRunner().invoke(main, ["why"]).exit_code == 2
