"""The table of the terminal: a row for each number with an interval, with what stands beside it."""

from pathlib import Path

from mutual_taught.measuring import table
from mutual_taught.measuring.evaluate import Result


def test_a_number_stands_beside_what_a_scorer_of_length_gets() -> None:
    metrics: dict[str, float | None] = {
        "accuracy": 0.75,
        "ci_lo": 0.5,
        "ci_hi": 1.0,
        "n": 4.0,
        "ties": 1.0,
        "unscored": 0.0,
        "ece": 0.25,
        "length_scorer": 0.5,
        "score.mean": 0.625,
        "score.ci_lo": 0.4,
        "score.ci_hi": 0.8,
        "score.n": 4.0,
        "score.length_scorer": 0.125,
    }
    _, *rows = table.rows([Result("bench", metrics, None, Path())])
    assert rows == [
        ["bench", "accuracy", "0.750", "[0.500, 1.000]", "0.500", "4", "1", "0"],
        ["bench", "ece", "0.250", "–", "–", "–", "–", "–"],
        ["bench", "score.mean", "0.625", "[0.400, 0.800]", "0.125", "4", "–", "–"],
    ]
