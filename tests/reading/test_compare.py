"""Comparison of runs: arithmetic by hand, and real files out of DVC's cache."""

import csv
import io
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from click.testing import CliRunner

from mutual_taught.artifacts import files
from mutual_taught.cli import main
from mutual_taught.errors import InputError
from mutual_taught.reading import compare, comparison, runs
from mutual_taught.reading.runs import ComparedRun
from mutual_taught.terminal import columns
from tests import project


def run(
    name: str, seed: int = 1, beta: float = 0.1, gold: float = 0.5, **prompts: list[float | None]
) -> ComparedRun:
    """A run of two parameters; its responses' gold by prompt."""
    rows = [(prompt, value) for prompt, values in prompts.items() for value in values]
    generations = pa.table(
        {
            "prompt_id": pa.array([prompt for prompt, _ in rows], pa.string()),
            "gold": pa.array([value for _, value in rows], pa.float64()),
        }
    )
    values = {"seed": seed, "dpo": {"beta": beta}}
    return ComparedRun(name, values, {"gold": gold}, generations)


def test_gold_of_a_prompt_is_the_mean_of_its_responses_that_have_one() -> None:
    assert compare.gold(run("a", p=[0.0, 1.0, None], q=[None])) == {"p": 0.5}


def test_difference_is_over_the_prompts_of_both() -> None:
    base = run("base", p=[0.0, 1.0], q=[1.0])
    other = run("other", beta=0.2, p=[1.0, 1.0], q=[0.75], r=[0.0])
    first, second = compare.single([base, other], "base")
    assert first.change is None
    # p: 1 - 0.5 = 0.5, q: 0.75 - 1 = -0.25; mean 0.125
    assert second.change is not None
    assert (second.change.mean, second.change.n) == (0.125, 2)
    assert (second.change.ci_lo, second.change.ci_hi) == (-0.25, 0.5)
    assert second.notes == ("other: 2 of its 3 prompts are among the baseline's 2",)


def test_runs_without_a_prompt_in_common_have_no_difference() -> None:
    rows = compare.single([run("base", p=[1.0]), run("other", q=[1.0])], "base")
    assert rows[1].change is None
    assert rows[1].notes == ("other: 0 of its 1 prompts are among the baseline's 1",)


def test_seeds_are_pooled_and_compared_seed_by_seed() -> None:
    rows = compare.pooled(
        [
            run("plain-s1", 1, gold=0.4, p=[0.0]),
            run("plain-s2", 2, gold=0.8, p=[1.0], q=[0.0]),
            run("wide-s1", 1, beta=0.2, p=[0.5]),
            run("wide-s2", 2, beta=0.2, p=[1.0], q=[1.0]),
            run("wide-s3", 3, beta=0.2, p=[0.0]),
        ],
        "plain",
    )
    plain, wide = rows
    assert (plain.name, wide.name) == ("plain", "wide")
    # 0.4 and 0.8: mean 0.6, deviations 0.2, sd = sqrt(0.08 / 1) = 0.28284
    assert plain.numbers["gold"].mean == pytest.approx(0.6)
    assert plain.numbers["gold"].sd == pytest.approx(0.2828427)
    assert (plain.numbers["gold"].n, wide.numbers["gold"].n) == (2, 3)
    # seed 1: p 0.5; seed 2: p 0, q 1; mean 0.5 over two prompts. Seed 3 has no partner.
    assert wide.change is not None
    assert (wide.change.mean, wide.change.n) == (0.5, 2)
    assert wide.notes == ("wide: the baseline has no run with seed 3",)


def test_one_seed_has_no_spread() -> None:
    assert compare.spread([0.25]) == (0.25, None, 1)


def test_of_two_runs_with_the_same_values_the_one_with_results_counts() -> None:
    empty = run("workspace")._replace(summary=None)
    (row,) = compare.pooled([empty, run("plain-s1", gold=0.3)], "workspace")
    assert row.numbers["gold"] == (0.3, None, 1)
    assert row.notes == ("workspace: has the seed of another run of its row, and is left out",)


def test_unknown_baseline_is_one_line_with_the_nearest() -> None:
    with pytest.raises(InputError, match=r"no row is called 'bse'; .*did you mean 'base'"):
        compare.single([run("base")], "bse")


def test_columns_are_the_parameters_that_differ() -> None:
    rows = compare.single([run("a"), run("b", seed=2), run("c", beta=0.2)], "a")
    assert compare.changed(rows, seeds=False) == {"seed": [1, 2, 1], "dpo.beta": [0.1, 0.1, 0.2]}
    assert compare.changed(rows, seeds=True) == {"dpo.beta": [0.1, 0.1, 0.2]}


def test_csv_and_json_have_the_numbers_in_full() -> None:
    rows = compare.single([run("a", p=[0.0]), run("b", beta=0.2, gold=1 / 3, p=[1.0])], "a")
    first, second = csv.DictReader(io.StringIO(comparison.as_csv(rows, seeds=False)))
    assert (first["dpo.beta"], first["gold_difference"], first["prompts"]) == ("0.1", "", "")
    assert (second["gold"], second["gold_difference"]) == (str(1 / 3), "1.0")
    listed = json.loads(comparison.as_json(rows, seeds=False))
    assert listed[1]["summary"]["gold"] == {"mean": 1 / 3, "sd": None, "n": 1}
    assert listed[1]["parameters"] == {"dpo.beta": 0.2}


def test_columns_that_do_not_fit_go_below_with_the_names() -> None:
    table = [["name", "first", "second"], ["a\x1b", "1", "2"]]
    assert list(columns.lines(table, 12, "utf-8")) == [
        "name   first",
        r"a\x1b  1",
        "",
        "name   second",
        r"a\x1b  2",
    ]
    assert list(columns.lines(table, 80, "utf-8")) == ["name   first  second", r"a\x1b  1      2"]
    assert next(columns.lines([["–"]], 9, "ascii")) == "-"


GRAPH = """
stages:
  eval:
    cmd: "true"
    params: [seed, dpo]
    outs: [run/2/eval, run/2/metrics/summary.json]
"""


@pytest.fixture(scope="module")
def saved(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a committed run, and an experiment `other` with another beta and gold 0.9.

    Its graph has one stage, which makes what is compared: DVC commits it in seconds.
    """
    repo = tmp_path_factory.mktemp("compare") / "repo"
    summary = repo / "run" / "2" / "metrics" / "summary.json"
    shutil.copytree(finished / "2" / "eval", repo / "run" / "2" / "eval")
    summary.parent.mkdir()
    shutil.copy(finished / "2" / "metrics" / "summary.json", summary)
    shutil.copy(finished.parent / "params.yaml", repo)
    (repo / "dvc.yaml").write_text(GRAPH)
    (repo / ".gitignore").write_text("/run/\n")
    project.git(repo, "init", "-q")
    project.dvc(repo, "init", "-q")
    commit(repo, "run")
    project.set_param(repo / "params.yaml", "dpo.beta", 0.3)
    numbers = files.read_json(summary)
    summary.unlink()
    files.write_json(summary, {**numbers, "gold": 0.9})
    project.dvc(repo, "commit", "-f", "-q")
    project.dvc(repo, "exp", "save", "-n", "other")
    project.git(repo, "checkout", "-q", "--", ".")
    project.dvc(repo, "checkout", "-q", "--force")
    return repo


def commit(repo: Path, message: str) -> None:
    project.dvc(repo, "commit", "-f", "-q")
    project.git(repo, "add", "-A")
    project.git(repo, "commit", "-qm", message)


@pytest.fixture
def inside(saved: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The project as working directory; whatever a test does, git sees no change."""
    monkeypatch.chdir(saved)
    before = project.git(saved, "status", "--porcelain")
    yield saved
    assert project.git(saved, "status", "--porcelain") == before


def records(*arguments: str) -> list[dict[str, Any]]:
    done = CliRunner().invoke(main, ["compare", "--json", *arguments])
    assert done.exit_code == 0, done.output
    listed: list[dict[str, Any]] = json.loads(done.stdout)
    return listed


@pytest.mark.slow
def test_all_experiments_are_read_from_the_cache(inside: Path) -> None:
    here, other = records()
    assert (here["experiment"], other["experiment"]) == ("workspace", "other")
    assert (here["parameters"], other["parameters"]) == ({"dpo.beta": 0.1}, {"dpo.beta": 0.3})
    assert other["summary"]["gold"]["mean"] == 0.9
    # the responses are the same, so every difference is 0
    assert other["gold_difference"]["mean"] == 0.0
    assert other["gold_difference"]["n"] > 1
    assert here["notes"] == other["notes"] == []


@pytest.mark.slow
def test_commits_and_folders_of_runs_are_rows_too(inside: Path, finished: Path) -> None:
    rows = records("HEAD", str(finished), str(finished.parent), "--against", "other")
    names = ["other", "HEAD", str(finished), str(finished.parent)]
    assert [row["experiment"] for row in rows] == names
    assert [row["parameters"]["dpo.beta"] for row in rows] == [0.3, 0.1, 0.1, 0.1]
    assert all(row["gold_difference"]["mean"] == 0.0 for row in rows[1:])


@pytest.mark.slow
def test_what_is_not_in_the_cache_is_a_dash_and_a_note(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(saved, tmp_path / "repo", symlinks=True)
    shutil.rmtree(tmp_path / "repo" / ".dvc" / "cache")
    monkeypatch.chdir(tmp_path / "repo")
    done = CliRunner().invoke(main, ["compare", "other", "HEAD"])
    assert done.exit_code == 0
    row = next(line for line in done.output.splitlines() if line.startswith("other"))
    assert row.split() == ["other", "0.3", "–", "–"]
    assert (
        "note: other: the results of run/2 are not here; dvc exp pull origin other" in done.output
    )
    assert "note: HEAD: the results of run/2 are not here; dvc fetch --all-commits" in done.output


@pytest.mark.slow
def test_parameters_that_did_not_run_are_noted(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(saved, tmp_path / "repo", symlinks=True)
    monkeypatch.chdir(tmp_path / "repo")
    project.set_param(Path("params.yaml"), "dpo.beta", 0.7)
    stale = "note: workspace: dpo.beta is not what ran; dvc repro, or its numbers are"
    absent = "note: workspace: the results of run/2 are not here; dvc repro or dvc pull"
    said = CliRunner().invoke(main, ["compare", "workspace"]).output
    assert stale in said
    assert absent not in said
    shutil.rmtree(Path("run/2/eval"))
    said = CliRunner().invoke(main, ["compare", "workspace"]).output
    assert stale in said
    assert absent in said


@pytest.mark.slow
def test_name_of_nothing_is_one_line(inside: Path) -> None:
    done = CliRunner().invoke(main, ["compare", "othr"])
    assert done.exit_code == 1
    assert done.output == (
        "Error: 'othr' is no folder with a run, and no experiment, commit, branch or tag; "
        "expected one of workspace, other; did you mean 'other'\n"
    )


def test_folders_need_no_git(finished: Path, stopped: Path, here: Path) -> None:
    for name, run_folder in (("one", finished), ("two", stopped)):
        shutil.copytree(run_folder, here / name / "run", symlinks=True)
        shutil.copy(run_folder.parent / "params.yaml", here / name)
    one, two = runs.read(["one", "two/run"])
    assert one.summary is not None
    assert two.summary is not None
    assert one.summary["final_iteration"] >= two.summary["final_iteration"] == 0.0
    assert two.values is not None
    assert two.values["select_policy"]["win_rate_threshold"] == 1.01
    assert not any(os.path.lexists(here / name) for name in (".git", ".dvc"))


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("params.yaml", "seed: 1\n", "it: params.yaml has no iterations; expected one at least"),
        ("params.yaml", "iterations: {x: 1}\n", "it: params.yaml has no iterations; expected one"),
        ("dvc.lock", "stages: {a: {outs: [{path: b}]}}\n", "it/dvc.lock: stages is not as DVC"),
        ("dvc.lock", "stages: [a]\n", "it/dvc.lock: stages is not as DVC writes it; expected outs"),
        ("run/2/metrics/summary.json", '{"gold": "high"}', "it/run/2/metrics/summary.json: could"),
        ("run/2/metrics/summary.json", '{"gold": null}', "it/run/2/metrics/summary.json: float() "),
    ],
)
def test_file_that_is_not_as_expected_is_one_line(
    finished: Path, here: Path, file: str, text: str, said: str
) -> None:
    shutil.copytree(finished, here / "it" / "run", symlinks=True)
    shutil.copy(finished.parent / "params.yaml", here / "it")
    (here / "it" / file).unlink(missing_ok=True)
    (here / "it" / file).write_text(text)
    done = CliRunner().invoke(main, ["compare", "it"])
    assert done.exit_code == 1
    assert done.output.startswith(f"Error: {said}")
    assert done.output.count("\n") == 1


def test_lock_of_a_project_without_stages_is_read(here: Path) -> None:
    assert runs._lock("schema: '2.0'\nstages:\n", "dvc.lock") == runs.Lock({}, {})


def test_csv_file_is_written(finished: Path, here: Path) -> None:
    done = CliRunner().invoke(main, ["compare", str(finished), "--csv", "table.csv"])
    assert done.exit_code == 0, done.output
    (row,) = csv.DictReader(io.StringIO(Path("table.csv").read_text()))
    summary = files.read_json(finished / "2" / "metrics" / "summary.json")
    assert float(row["gold"]) == summary["gold"]
