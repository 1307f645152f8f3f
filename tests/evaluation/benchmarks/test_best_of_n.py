"""The benchmark `best-of-n`: its file, and its numbers by hand."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mutual_taught.errors import InputError
from mutual_taught.evaluation.benchmarks import best_of_n
from mutual_taught.evaluation.benchmarks.base import by_labels, compared

NAN = math.nan


def written(folder: Path, *rows: dict[str, Any]) -> Path:
    path = folder / "mine.json"
    path.write_text(json.dumps(rows))
    return path


def row(*labels: float) -> dict[str, Any]:
    return {
        "prompt": "Hi",
        "responses": [f"{place}" for place in range(len(labels))],
        "labels": labels,
    }


@pytest.mark.parametrize(
    ("rewards", "labels", "share", "label"),
    [
        ([1.0, 2.0, 0.0], [0.0, 1.0, 0.0], 1.0, 1.0),
        ([3.0, 2.0, 0.0], [0.0, 1.0, 0.0], 0.0, 0.0),
        ([2.0, 2.0, 0.0], [0.0, 1.0, 0.0], 0.5, 0.5),  # one of two at random
        ([2.0, 2.0, 2.0], [1.0, 1.0, 0.0], 2 / 3, 2 / 3),
        ([NAN, 2.0, 0.0], [1.0, 0.0, 0.0], 0.0, 0.0),  # the best one cannot be read
        ([NAN, NAN], [0.25, 0.75], 0.0, 0.25),  # nothing can be taken
        ([5.0, 1.0], [0.25, 0.75], 0.0, 0.25),
    ],
)
def test_the_response_of_the_highest_reward_is_taken(
    rewards: list[float], labels: list[float], share: float, label: float
) -> None:
    both = np.array(rewards), np.array(labels)
    assert best_of_n.best_share(*both) == pytest.approx(share)
    assert best_of_n.label_taken(*both) == pytest.approx(label)


def test_metrics_stand_beside_chance_and_the_best_there_is(tmp_path: Path) -> None:
    items = best_of_n.read([written(tmp_path, row(1, 0, 0, 0), row(0, 0.5))])
    found = best_of_n.metrics(items, [[0.0, 1.0, 0.0, 0.0], [0.0, 1.0]])
    assert found["accuracy"] == 0.5  # wrong, right
    assert found["accuracy_chance"] == pytest.approx((1 / 4 + 1 / 2) / 2)
    assert found["label"] == pytest.approx((0 + 0.5) / 2)
    assert found["label_best"] == pytest.approx((1 + 0.5) / 2)
    assert found["label_chance"] == pytest.approx((0.25 + 0.25) / 2)
    assert found["n"] == 2.0


def test_comparisons_are_all_pairs_of_different_labels(tmp_path: Path) -> None:
    assert by_labels([1, 0, 1, 0.5]) == [(0, 1), (0, 3), (2, 1), (2, 3), (3, 1)]
    items = best_of_n.read([written(tmp_path, row(1, 0, 0))])
    assert compared(items, [[3.0, 1.0, None]]).reward_rejected.tolist()[0] == 1.0


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (row(1), "responses has 1 texts; expected at least 2"),
        ({**row(1, 0), "labels": [1]}, "labels has 1 numbers; expected 2"),
        (row(1, 1), "labels are all 1; expected a better and a worse one"),
    ],
)
def test_a_row_that_cannot_be_ranked_is_refused(
    values: dict[str, Any], said: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=f"row 1: {said}"):
        best_of_n.read([written(tmp_path, values)])


def test_a_scorer_of_length_stands_beside_and_pairs_are_described(tmp_path: Path) -> None:
    long = {"prompt": "Hi", "responses": ["no", "longest", "so so"], "labels": [1, 0, 0]}
    items = best_of_n.read([written(tmp_path, long, {**long, "responses": ["first", "a", "b"]})])
    found = best_of_n.metrics(items, [[2.0, 1.0, 3.0], [2.0, 1.0, 3.0]])
    # the longest is worst in the first, best in the second
    assert (found["length_scorer"], found["label_length_scorer"]) == (0.5, 0.5)
    # the best beats one of two others, twice
    assert (found["accuracy"], found["pairs.accuracy"], found["pairs.n"]) == (0.0, 0.5, 4.0)
