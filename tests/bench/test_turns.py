"""Variants of a benchmark take turns."""

import json
from functools import partial
from pathlib import Path

import pytest

from bench.turns import Turn, in_turn, median_seconds, show


def test_variants_take_turns_and_the_first_turns_do_not_count() -> None:
    order: list[str] = []

    def run(name: str) -> int:
        order.append(name)
        return len(order)

    turns = in_turn({name: partial(run, name) for name in "ab"}, 2, unmeasured=1)
    assert order == ["a", "b", "a", "b", "a", "b"]
    # the third and fifth of all runs were a's, the fourth and sixth b's
    assert {name: [turn.result for turn in own] for name, own in turns.items()} == {
        "a": [3, 5],
        "b": [4, 6],
    }


def test_median_of_three_turns_is_the_middle_one() -> None:
    assert median_seconds({"a": [Turn(None, 9.0), Turn(None, 1.0), Turn(None, 2.0)]}) == {"a": 2.0}


def test_ratios_are_shown_and_written_beside_what_was_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    show({"ours_vs_theirs": 1.5}, tmp_path / "out.json", seconds={"ours": 2.0})
    assert capsys.readouterr().out.split() == ["ours_vs_theirs", "1.50"]
    assert json.loads((tmp_path / "out.json").read_text()) == {
        "ratios": {"ours_vs_theirs": 1.5},
        "seconds": {"ours": 2.0},
    }
