"""Rewards and responses beside the rows of a file, in every format, in order."""

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mutual_taught.artifacts import tables
from mutual_taught.errors import InputError
from mutual_taught.measuring import rowfile, sample, score, settings

LONG = "b" * 400
TURNS = [{"role": "user", "content": "Hi"}]
SAID = [*TURNS, {"role": "assistant", "content": "Yes"}]
Row = dict[str, Any]


def written(path: Path, *rows: Row) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def lines(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def scored(file: Path, model: Path, out: Path) -> score.Count:
    terms = settings.read(None, settings.Given(max_length=128))
    return score.run(score.plan(file, model, out), terms)


@pytest.mark.slow
def test_pairs_gain_a_reward_and_a_reason_a_side(reward_folder: Path, here: Path) -> None:
    file = written(
        here / "in.jsonl",
        {"prompt": "Hi", "chosen": "Yes", "rejected": "No", "mine": [1]},
        {"prompt": "Hi", "chosen": LONG, "rejected": "Yes"},
        {"prompt": "", "chosen": "a", "rejected": "b"},
        {"prompt": TURNS, "chosen": SAID, "rejected": "No"},
    )
    count = scored(file, reward_folder, here / "out.jsonl")
    one, two, three, four = lines(here / "out.jsonl")
    assert one["mine"] == [1]
    assert (one["reason_chosen"], one["reason_rejected"]) == ("", "")
    assert (two["reward_chosen"], two["reason_chosen"]) == (None, "too_long")
    assert two["reward_rejected"] == one["reward_chosen"]  # the same conversation
    assert (three["reward_chosen"], three["reason_chosen"]) == (None, "blank")
    assert four["reward_chosen"] == one["reward_chosen"]
    assert four["reward_rejected"] == one["reward_rejected"]
    assert count == score.Count(4, 5, "1 blank (nothing visible in a turn)", 1)


@pytest.mark.slow
def test_responses_and_conversations_of_other_formats_have_the_same_rewards(
    reward_folder: Path, here: Path
) -> None:
    (here / "a.csv").write_text('instruction,output\nHi,Yes\n"a\nb",No\n')
    pq.write_table(pa.Table.from_pylist([{"messages": SAID, "n": 7}]), here / "b.parquet")
    scored(here / "a.csv", reward_folder, here / "a2.csv")
    scored(here / "b.parquet", reward_folder, here / "b2.parquet")
    with (here / "a2.csv").open(newline="") as file:
        first, second = csv.DictReader(file)
    found = pq.read_table(here / "b2.parquet")
    assert list(first) == ["instruction", "output", "reward", "reason"]
    assert second["instruction"] == "a\nb"
    assert found.column_names == ["messages", "n", "reward", "reason"]
    # A row of other neighbours is another product of matrices, which rounds otherwise.
    assert found["reward"].to_pylist() == pytest.approx([float(first["reward"])], abs=1e-4)
    assert found["n"].to_pylist() == [7]


@pytest.mark.slow
def test_a_row_gains_its_responses_with_the_columns_of_generations(
    policy_folder: Path, reward_folder: Path, here: Path
) -> None:
    verifiable = {"instruction_ids": ["punctuation:no_comma"], "instruction_kwargs": ["{}"]}
    file = written(
        here / "in.jsonl",
        {"prompt": "Hi", "mine": 1},
        {"prompt": "Ho", "mine": 2, **verifiable},
        {"prompt": " Hi ", "mine": 3},
        {"prompt": "<|im_end|>", "mine": 4},
        {"prompt": LONG, "mine": 5},
    )
    given = settings.Given(responses_per_prompt=2, max_new_tokens=8, max_length=128, seed=5)
    count = sample.run(
        sample.plan(file, policy_folder, here / "out.jsonl"), settings.read(None, given)
    )
    found = lines(here / "out.jsonl")
    assert [row["mine"] for row in found] == [1, 1, 2, 2, 3, 3, 4, 5]
    assert list(found[0]) == ["prompt", "mine", *sample.ADDED]
    assert {*sample.ADDED} - {"skipped"} <= set(tables.GENERATIONS.columns)
    assert [row["response"] for row in found[:2]] == [row["response"] for row in found[4:6]]
    assert [row["response_index"] for row in found[:6]] == [0, 1] * 3
    assert found[0]["gold"] is None
    assert 0 <= found[2]["gold"] <= 1
    assert all(row["length_tokens"] == len(row["token_ids"]) <= 8 for row in found[:6])
    assert [row["skipped"] for row in found] == [""] * 6 + ["special_token", "too_long"]
    assert (count.rows, count.responses) == (5, 6)
    assert scored(here / "out.jsonl", reward_folder, here / "rewards.jsonl").rewards > 0
    rewards = lines(here / "rewards.jsonl")  # random weights say control signs, which are refused
    assert {row["reason"] for row in rewards[:6]} <= {"", "control_sign"}
    assert all(row["reason"] and row["reward"] is None for row in rewards[6:])
    assert [row["skipped"] for row in rewards] == [row["skipped"] for row in found]


@pytest.mark.slow
def test_responses_depend_on_the_seed_and_not_on_the_other_rows(
    policy_folder: Path, here: Path
) -> None:
    def drawn(name: str, seed: int, *prompts: str) -> list[str]:
        file = written(here / f"{name}.jsonl", *({"prompt": prompt} for prompt in prompts))
        terms = settings.read(None, settings.Given(max_new_tokens=12, max_length=128, seed=seed))
        sample.run(sample.plan(file, policy_folder, here / f"{name}-out.jsonl"), terms)
        return [row["response"] for row in lines(here / f"{name}-out.jsonl")]

    first = drawn("a", 5, "Hi", "Ho")
    assert drawn("b", 5, "Ho")[0] == first[1]
    assert drawn("c", 6, "Hi", "Ho") != first


def test_cells_of_csv_hold_lists_as_json(here: Path) -> None:
    rowfile.write(here / "a.csv", [{"a": [1, 2], "b": None}, {"c": "x,y"}], pa.schema([]))
    assert (here / "a.csv").read_text() == 'a,b,c\n"[1, 2]",,\n,,"x,y"\n'


def test_values_of_several_kinds_are_no_column_of_parquet(here: Path) -> None:
    with pytest.raises(InputError, match="column 'a' cannot be written as Parquet"):
        rowfile.write(here / "a.parquet", [{"a": 1}, {"a": "x"}], pa.schema([]))


@pytest.mark.parametrize(
    ("there", "chosen", "messages", "prompt"),
    [
        (["prompt", "messages"], None, "messages", None),
        (["instruction", "output"], "output", None, "instruction"),
        (["chosen", "rejected"], "chosen", "chosen", None),
    ],
)
def test_columns_are_found_by_their_names(
    there: list[str], chosen: str | None, messages: str | None, prompt: str | None
) -> None:
    found = rowfile.columns(there, chosen)
    assert found is not None
    assert (found.messages, found.prompt) == (messages, prompt)


def test_a_file_without_a_prompt_has_no_columns() -> None:
    assert rowfile.columns(["question"]) is None


def test_half_of_a_character_leaves_a_file_that_can_be_read(here: Path) -> None:
    rows = [{"a": "\ud83d", "b": "ü"}, {"a": "x", "b": "ü"}]
    for name in ("a.jsonl", "a.csv"):
        rowfile.write(here / name, rows, pa.schema([]))
    assert lines(here / "a.jsonl") == rows
    assert (here / "a.csv").read_text("utf-8") == "a,b\n\\ud83d,ü\nx,ü\n"
