"""AlpacaEval 2: its files, its numbers by hand, and rows that do not belong."""

import json
import sys
from pathlib import Path

import pytest

from mutual_taught.errors import InputError, MissingFileError
from mutual_taught.evaluation.benchmarks import alpaca_eval
from mutual_taught.evaluation.benchmarks.base import Prompts
from tests.evaluation.benchmarks import written

PREFERENCES = (1.9, 1.2, 1.5, 2.0, 1.1, 1.6)


def prompts(folder: Path, count: int = 6) -> Prompts:
    rows = [{"instruction": f"Question {place}?", "dataset": "koala"} for place in range(count)]
    return alpaca_eval.read([written.array(folder / "alpaca_eval.json", rows)])


def judged(folder: Path, *preferences: float | None) -> Path:
    rows = [written.annotation(*pair, own=9 - pair[0]) for pair in enumerate(preferences)]
    return written.array(folder / "annotations.json", rows)


def test_a_prompt_is_its_instruction_called_by_its_place(tmp_path: Path) -> None:
    first, *_ = prompts(tmp_path)
    assert first[:3] == ("000000", "koala", [{"role": "user", "content": "Question 0?"}])


def test_an_instruction_that_occurs_twice_is_refused(tmp_path: Path) -> None:
    path = written.array(tmp_path / "twice.json", [{"instruction": "Why?"}] * 2)
    with pytest.raises(InputError, match=r"has Why\? twice"):
        alpaca_eval.read([path])


def test_responses_are_exported_as_its_users_feed_them_in(tmp_path: Path) -> None:
    [path] = alpaca_eval.export(prompts(tmp_path, 2), ["Yes", "Ünd\u2028"], "mine", tmp_path)
    assert path.name == "model_outputs.json"
    rows = json.loads(path.read_text("utf-8"))
    assert [set(row) for row in rows] == [{"dataset", "instruction", "output", "generator"}] * 2
    assert [row["instruction"] for row in rows] == ["Question 0?", "Question 1?"]
    assert [row["output"] for row in rows] == ["Yes", "Ünd\u2028"]


def test_rates_are_those_of_the_preferences_and_the_judge_is_in_their_names(
    tmp_path: Path,
) -> None:
    found = alpaca_eval.metrics_from(prompts(tmp_path), [judged(tmp_path, *PREFERENCES)])
    # (.9 + .2 + .5 + 1 + .1 + .6) / 6 = .55; wins 1.9, 2.0, 1.6; draw 1.5: 3.5 of 6
    assert found["win_rate.a-judge.mean"] == pytest.approx(55.0)
    assert found["discrete_win_rate.a-judge.mean"] == pytest.approx(350 / 6)
    counts = [found[f"win_rate.a-judge.{key}"] for key in ("n", "ties", "unjudged")]
    assert counts == [6, 1, 0]
    assert found["length_chars.a-judge.mean"] == 6.5  # 9 down to 4
    assert found["length_chars.a-judge.baseline"] == 4.0
    assert all(name.split(".")[1] == "a-judge" for name in found)


def test_zero_is_a_draw_and_null_is_not_judged(tmp_path: Path) -> None:
    found = alpaca_eval.metrics_from(prompts(tmp_path, 3), [judged(tmp_path, 0, None, 2.0)])
    assert found["win_rate.a-judge.mean"] == 75.0  # a draw and a win
    counts = [found[f"win_rate.a-judge.{key}"] for key in ("n", "ties", "unjudged")]
    assert counts == [2, 1, 1]


def test_without_the_public_files_length_control_has_another_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, path = prompts(tmp_path), judged(tmp_path, *PREFERENCES)
    found = alpaca_eval.metrics_from(asked, [path])
    assert "lc_minimal.a-judge.mean" in found
    assert "lc_win_rate.a-judge.mean" not in found
    written.array(path, json.loads(path.read_text())[::-1])  # joined by instruction
    assert alpaca_eval.metrics_from(asked, [path]) == found
    table = written.table(tmp_path / "df_gamed.csv", written.gamed(6))
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(InputError, match=r"needs scikit-learn, .* then there is lc_minimal"):
        alpaca_eval.metrics_from(asked, [path, table])


def test_missing_and_foreign_rows_are_refused_by_name(tmp_path: Path) -> None:
    path = judged(tmp_path, 1.5, 1.5, 1.5)
    with pytest.raises(InputError, match=r"row 3: 'Question 2\?' is none of the 2 prompts"):
        alpaca_eval.metrics_from(prompts(tmp_path, 2), [path])
    with pytest.raises(InputError, match=r"no row for 'Question 3\?'; expected one row for each"):
        alpaca_eval.metrics_from(prompts(tmp_path, 4), [path])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"preference": 2.5}, "row 1: preference is '2.5'; expected 1 to 2, 0 or null"),
        ({"preference": True}, "row 1: preference is 'True'; expected"),
        ({"output_2": None}, "row 1: output_1 or output_2 is no text"),
        ({"annotator": ""}, "row 1: annotator is ''; expected text"),
        ({"generator_2": "yours"}, "expected one of each; split the file"),
    ],
)
def test_a_row_that_is_no_annotation_is_refused(
    tmp_path: Path, change: dict[str, object], said: str
) -> None:
    rows = [{**written.annotation(0, 1.5), **change}, written.annotation(1, 1.5)]
    path = written.array(tmp_path / "annotations.json", rows)
    with pytest.raises(InputError) as error:
        alpaca_eval.metrics_from(prompts(tmp_path, 2), [path])
    assert said in str(error.value)


def test_half_a_file_and_a_row_without_a_verdict_are_refused(tmp_path: Path) -> None:
    path = judged(tmp_path, 1.5, 1.5)
    path.write_text(path.read_text()[:-20])
    with pytest.raises(InputError, match="not JSON as a whole"):
        alpaca_eval.metrics_from(prompts(tmp_path, 2), [path])
    row = written.annotation(0, 1.5)
    del row["preference"]
    written.array(path, [row])
    with pytest.raises(InputError, match="row 1: lacks preference; the judge has not spoken"):
        alpaca_eval.metrics_from(prompts(tmp_path, 1), [path])


def test_a_judge_that_said_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no preference in 2 rows"):
        alpaca_eval.metrics_from(prompts(tmp_path, 2), [judged(tmp_path, None, None)])


def test_one_file_of_annotations_is_due(tmp_path: Path) -> None:
    path = judged(tmp_path, 1.5)
    for paths in ([], [path, path]):
        with pytest.raises(InputError, match=f"judgements: {len(paths)} files of annotations"):
            alpaca_eval.metrics_from(prompts(tmp_path, 1), paths)
    with pytest.raises(MissingFileError):
        alpaca_eval.metrics_from(prompts(tmp_path, 1), [tmp_path / "none.json"])
