"""The benchmark `pairs`: its file, and its accuracy by hand."""

import json
from pathlib import Path
from typing import Any

import pytest

from mutual_taught.errors import InputError
from mutual_taught.evaluation.benchmarks import generic_pairs
from mutual_taught.evaluation.benchmarks.base import Scores, compared

ROW: dict[str, Any] = {"prompt": "Hi", "chosen": "Good day", "rejected": "No"}


def written(folder: Path, *rows: dict[str, Any]) -> Path:
    path = folder / "mine.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_pair_has_its_prompt_its_responses_and_its_subset(tmp_path: Path) -> None:
    [first, second] = generic_pairs.read(
        [written(tmp_path, ROW, {**ROW, "id": "b", "subset": "chat"})]
    )
    assert first.item_id == "mine:000001"
    assert first.subset == ""
    assert first.messages == [{"role": "user", "content": "Hi"}]
    assert first.responses == ["Good day", "No"]
    assert first.labels == (1.0, 0.0)
    assert (second.item_id, second.subset) == ("b", "chat")


def test_a_pair_of_equal_responses_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, {**ROW, "rejected": "Good day"})
    with pytest.raises(InputError, match="row 1: chosen and rejected are the same text"):
        generic_pairs.read([path])


def test_an_id_that_occurs_twice_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, {**ROW, "id": "a"}, {**ROW, "id": "a"})
    with pytest.raises(InputError, match="has a twice"):
        generic_pairs.read([path])


def test_accuracy_counts_a_tie_and_a_missing_reward_as_errors(tmp_path: Path) -> None:
    items = generic_pairs.read([written(tmp_path, ROW, ROW, ROW, ROW)])
    scores: Scores = [[1.0, 0.0], [0.5, 0.5], [None, 0.0], [3.0, -1.0]]
    found = generic_pairs.metrics(items, scores)
    assert found["accuracy"] == 0.5  # the first and the last of four
    assert (found["n"], found["ties"], found["unscored"]) == (4.0, 1.0, 1.0)
    assert generic_pairs.records(items, scores)["value"].to_pylist() == [1.0, 0.0, 0.0, 1.0]


def test_pairs_of_one_prompt_are_one_group_and_lengths_are_in_characters(tmp_path: Path) -> None:
    items = generic_pairs.read([written(tmp_path, ROW, {**ROW, "prompt": "Ho"}, ROW)])
    pairs = compared(items, [[1.0, 0.0]] * 3)
    assert pairs.group[0] == pairs.group[2] != pairs.group[1]
    assert pairs.length_chosen.tolist() == [8] * 3  # "Good day"
    assert pairs.length_rejected.tolist() == [2] * 3


def test_accuracy_in_each_subset_is_beside_what_a_scorer_of_length_gets(tmp_path: Path) -> None:
    rows = [{**ROW, "subset": "a"}, {**ROW, "subset": "a", "prompt": "Ho"}, ROW]
    items = generic_pairs.read([written(tmp_path, *rows)])
    found = generic_pairs.metrics(items, [[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    # the first of two in a; one of all three. The chosen response is the longer one everywhere
    assert found["subset.a.mean"] == 0.5
    assert found["accuracy"] == pytest.approx(1 / 3)
    assert found["subset.a.length_scorer"] == found["length_scorer"] == 1
    assert not [name for name in found if name.startswith("subset..")]


def test_rows_without_ids_of_files_that_are_called_alike_are_told_how_to_differ(
    tmp_path: Path,
) -> None:
    paths = [tmp_path / folder / "x.jsonl" for folder in ("a", "b")]
    for path in paths:
        path.parent.mkdir()
        path.write_text(json.dumps(ROW) + "\n")
    with pytest.raises(InputError, match=r"has x:000001 twice; .*; give rows an id, or files"):
        generic_pairs.read(paths)
