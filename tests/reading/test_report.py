"""`mutual-taught report`: the page of the last report with what is of this machine."""

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from mutual_taught.artifacts import files
from mutual_taught.cli import main
from mutual_taught.reading import report
from tests import project


@pytest.fixture
def copied(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The run of a project, to write into; the working directory is the project."""
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copy(finished.parent / name, tmp_path / name)
    ignored = shutil.ignore_patterns("*.safetensors", "checkpoints")
    shutil.copytree(finished, tmp_path / "run", symlinks=True, ignore=ignored)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "run"


def said(*arguments: str, code: int = 0) -> str:
    done = CliRunner().invoke(main, ["report", *arguments])
    assert done.exit_code == code, done.output
    return done.output


def test_page_is_that_of_the_last_report_with_versions_and_costs(copied: Path) -> None:
    for path in copied.glob("*/perf/*.json"):
        path.unlink()
    perf = {
        "seconds": 1800.0,
        "start_seconds": 2.0,
        "tokens_per_second": 12.5,
        "peak_memory_gb": 3.0,
    }
    files.write_json(copied / "1" / "perf" / "sample.json", perf)
    files.write_json(copied / "1" / "perf" / "dpo.json", {"seconds": 5400.0})
    assert said("--price", "3") == "written: run/report.html\n"
    text = (copied / "report.html").read_text("utf-8")
    assert "Mutual-Taught, iterations 0 to 2" in text
    assert "<dt>transformers</dt>" in text
    row = "<td>1800.0 s</td><td>2.0 s</td><td>12.5 tokens</td><td>3.00 GiB</td>"
    assert f'<th scope="row">sample@1</th>{row}' in text
    assert text.index("sample@1") < text.index("dpo@1")
    assert "At 3 an hour they cost 6.00." in text  # 7200 s are two hours


def test_commit_is_named_and_whether_there_are_changes(copied: Path) -> None:
    project.git(copied.parent, "init", "-q")
    project.git(copied.parent, "add", "params.yaml")
    project.git(copied.parent, "commit", "-qm", "start")
    commit = project.git(copied.parent, "rev-parse", "HEAD").strip()
    facts = dict(report._facts())
    assert facts["commit"] == f"{commit} with changes that are not committed"  # dvc.yaml is new
    assert facts["mutual-taught"]


def test_run_without_a_report_is_one_line(copied: Path) -> None:
    for path in copied.glob("*/report"):
        shutil.rmtree(path)
    line = said(code=1).strip()
    assert line.endswith("run: no iteration has a report; expected one; run dvc repro or dvc pull")


def test_report_of_an_earlier_version_is_one_line(copied: Path) -> None:
    shutil.rmtree(copied / "2" / "report" / "past")
    assert "run/2/report/past/0/samples.json does not exist; run dvc repro" in said(code=1)


def test_run_that_came_without_its_project_has_a_page(
    copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "params.yaml").unlink()
    monkeypatch.setattr(report, "git", lambda *_: None)
    path = report.write(Path("run"), None)
    text = path.read_text("utf-8")
    assert "<dt>seed</dt>" not in text
    assert "<dt>commit</dt>" not in text
    assert "they cost" not in text  # no price was given


def test_words_that_do_not_fit_are_refused() -> None:
    assert "names go with --compare" in said("other", code=2)
    assert "--price and --compare: expected one of them" in said(
        "--compare", "--price", "1", code=2
    )


def test_folder_beside_the_iterations_is_none(copied: Path) -> None:
    files.write_json(copied / "1-old" / "perf" / "dpo.json", {"seconds": 3.0})
    assert said() == "written: run/report.html\n"


@pytest.mark.parametrize("value", ["x", None, True])
def test_cost_that_is_no_number_is_one_line(value: object, copied: Path) -> None:
    files.write_json(copied / "1" / "perf" / "dpo.json", {"seconds": value})
    line = f"run/1/perf/dpo.json: seconds is {str(value)!r}; expected a number; remove it"
    assert said(code=1) == f"Error: {line}\n"


def test_costs_without_a_time_are_drawn(copied: Path) -> None:
    for path in copied.glob("*/perf/*.json"):
        path.unlink()
    files.write_json(copied / "1" / "perf" / "dpo.json", {"peak_memory_gb": 3.0})
    assert said() == "written: run/report.html\n"


def test_page_without_params_does_not_say_that_no_threshold_decided(copied: Path) -> None:
    (copied.parent / "params.yaml").unlink()
    said()
    text = (copied / "report.html").read_text("utf-8")
    assert "Iteration 1 went on: its best candidate" in text
    assert "the last checkpoint is taken" not in text


def test_price_that_is_no_number_is_refused(copied: Path) -> None:
    assert "--price is nan; expected a number" in said("--price", "nan", code=2)
