"""`mutual-taught status` names what is there, and says of an unfinished run that it is one."""

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from mutual_taught import files
from mutual_taught.cli import main


def test_finished_run_names_its_report_and_models(
    finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(finished.parent)
    said = CliRunner().invoke(main, ["status"]).output
    assert said.endswith(
        "Report: run/2/report/report.md\nFinal models: run/2/policy, run/2/reward_model\n"
    )
    assert "t = 2" in said


@pytest.mark.parametrize("missing", ["report", "reward_model"])
def test_unfinished_run_names_no_models(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    shutil.copytree(finished, tmp_path / "run", copy_function=files._link)
    shutil.rmtree(tmp_path / "run" / "2" / missing)
    monkeypatch.chdir(tmp_path)
    said = CliRunner().invoke(main, ["status"]).output
    assert said.endswith("Not finished: dvc repro goes on.\n")
    assert ("run/1/report/report.md" in said) == (missing == "report")


def test_iteration_that_has_just_begun_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "run" / "1").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, ["status"])
    assert result.exit_code == 0
    assert result.output.endswith("Not finished: dvc repro goes on.\n")


@pytest.mark.parametrize("value", ['"x"', "null", "[1]", "true", "{}", "NaN", "1" + "0" * 400])
def test_metric_that_is_no_number_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.chdir(tmp_path)
    path = Path("run/1/metrics/rank_pairs.json")
    path.parent.mkdir(parents=True)
    path.write_text(f'{{"kept": {value}, "rows": 1}}')
    result = CliRunner().invoke(main, ["status"])
    assert result.exit_code == 1
    assert result.output.startswith(f"Error: {path}: kept is ")
    assert result.output.endswith("; expected a number; run dvc repro\n")
