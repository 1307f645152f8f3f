"""Experiments of DVC: checked before they run, and the grid in its queue."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from ruamel.yaml import YAML

from mutual_taught.cli import main
from mutual_taught.config import overrides, params, presets
from mutual_taught.errors import InputError
from mutual_taught.running import experiments, grid
from tests import project


@pytest.fixture
def repo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh project with fake stages as working directory."""
    for name in (
        "GIT_CONFIG_COUNT",
        *(f"GIT_CONFIG_{kind}_{i}" for kind in ("KEY", "VALUE") for i in (0, 1)),
    ):
        monkeypatch.setenv(name, project.ENVIRONMENT[name])
    monkeypatch.setenv("DVC_NO_ANALYTICS", "1")
    found = project.copy(tmp_path / "repo", "tiny", fake=True)
    monkeypatch.chdir(found)
    return found


def invoke(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(main, list(arguments))
    assert done.exception is None or isinstance(done.exception, SystemExit)
    return done.exit_code, done.output


def test_refused_value_changes_nothing(repo: Path) -> None:
    code, said = invoke("exp", "-S", "dpo.beta=-1")
    assert code == 1
    assert said == (
        "Error: params.yaml: dpo.beta is -1; expected greater than 0; params.yaml is unchanged\n"
    )
    assert project.git(repo, "status", "--porcelain") == ""


def test_several_experiments_need_the_queue(repo: Path) -> None:
    code, said = invoke("exp", "-S", "seed=1,2")
    assert (code, said.splitlines()[-1]) == (
        2,
        "Error: -S makes 2 experiments; expected one, or --queue",
    )


def test_value_that_hides_behind_the_dashes_is_refused(repo: Path) -> None:
    code, said = invoke("exp", "--", "-Sdpo.beta=-1")
    assert code == 2
    assert "-Sdpo.beta=-1 stands after --; expected it before, to be checked" in said


def test_folder_without_a_commit_is_refused(here: Path) -> None:
    shutil.copy(project.ROOT / "presets" / "tiny.yaml", here / "params.yaml")
    for command in ("exp", "grid"):
        code, said = invoke(command)
        assert code == 1
        assert said.startswith("Error: no commit of git is here; expected one, because")
        assert said.count("\n") == 1


def test_missing_identity_is_refused(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", "")
    code, said = invoke("exp", "-S", "seed=2")
    assert code == 1
    assert said.startswith("Error: git does not know who you are; expected a name and mail; git")


def test_notes_say_what_the_baseline_lacks(repo: Path) -> None:
    (repo / "data" / "mine.jsonl").write_text("{}\n")
    (lock,) = experiments.notes(apart=False)
    assert lock.startswith("dvc.lock is in no commit, so this experiment has no baseline")
    _, untracked = experiments.notes(apart=True)
    assert untracked.startswith("git does not track data/mine.jsonl, so the experiment does not")
    for name in "abcd":
        (repo / "data" / f"{name}.jsonl").write_text("{}\n")
    named = "git does not track data/a.jsonl, data/b.jsonl, data/c.jsonl and 2 more, so"
    assert experiments.notes(apart=True)[1].startswith(named)
    (repo / "dvc.lock").write_text("schema: '2.0'\nstages: {}\n")
    project.git(repo, "add", "-A")
    project.git(repo, "commit", "-qm", "run")
    assert experiments.notes(apart=True) == []


@pytest.mark.slow
def test_exp_runs_what_dvc_exp_run_would(repo: Path) -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-P",
            "-m",
            "mutual_taught",
            "exp",
            "-S",
            "seed=3",
            "-n",
            "third",
            "--",
            "prepare_prompts",
        ],
        env=project.ENVIRONMENT,
        text=True,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "note: dvc.lock is in no commit" in done.stdout
    assert project.ran(done.stdout) == {"prepare_prompts"}
    assert params.read(repo / "params.yaml")["seed"] == 3
    assert "third" in project.dvc(repo, "exp", "list")


@pytest.mark.slow
def test_failure_of_dvc_is_the_exit_code(repo: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "mutual_taught", "exp", "--", "no_such_stage"],
        env=project.ENVIRONMENT,
        text=True,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 255
    assert "no_such_stage" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_grid_has_the_plain_method_and_every_ablation_for_each_seed(repo: Path) -> None:
    wanted = grid.trials(2, [], None)
    others = (name for name in presets.names() if name != "paper-pairs")  # which tiny has
    rows = ["plain", *others]
    assert [trial.name for trial in wanted] == [f"{row}-s{seed}" for row in rows for seed in (1, 2)]
    by_name = {trial.name: trial.overrides for trial in wanted}
    assert by_name["plain-s1"] == ()
    assert by_name["plain-s2"] == ("seed=2",)
    assert by_name["no-filter-s2"] == ("seed=2", "build_pairs.filter='none'")


@pytest.mark.slow
def test_rows_of_the_grid_differ_in_seed_alone(repo: Path) -> None:
    for one, two in zip(*[iter(grid.trials(2, [], None))] * 2, strict=True):
        first, second = overrides.checked(one.overrides), overrides.checked(two.overrides)
        assert (first.pop("seed"), second.pop("seed")) == (1, 2)
        assert first == second


def test_grid_of_another_preset_says_so_in_the_names(repo: Path) -> None:
    (trial,) = grid.trials(1, ["warm-start"], "laptop")
    assert trial.name == "laptop-warm-start-s1"
    laptop = params.read(project.ROOT / "presets" / "laptop.yaml")
    wanted = {**laptop, "train_rm": {**laptop["train_rm"], "start": "previous"}}
    assert overrides.checked(trial.overrides) == wanted


@pytest.mark.slow
def test_ablation_that_is_in_force_already_is_no_second_plain_row(repo: Path) -> None:
    project.set_param(repo / "params.yaml", "train_rm.fixed", True)
    names = [trial.name for trial in grid.trials(1, [], None)]
    assert "fixed-reward-model-s1" not in names
    assert "plain-s1" in names


def test_unknown_row_is_one_line_with_the_nearest(repo: Path) -> None:
    with pytest.raises(InputError, match=r"grid has no row 'no-filtr'; .*did you mean 'no-filter'"):
        grid.trials(1, ["no-filtr"], None)


def test_row_that_its_parameters_refuse_is_named(repo: Path) -> None:
    path = repo / "presets" / "ablations" / "no-filter.yaml"
    path.write_text("build_pairs: {filter: some}\n")
    with pytest.raises(InputError, match=r"no-filter: params\.yaml: build_pairs\.filter is 'some'"):
        grid.trials(1, [], None)


@pytest.mark.slow
def test_grid_waits_in_the_queue_and_is_not_queued_twice(repo: Path) -> None:
    asked = ["grid", "--seeds", "2", "--only", "plain", "--only", "offline-dpo"]
    code, said = invoke(*asked, "--dry")
    assert code == 0
    assert "would queue offline-dpo-s2" in said
    assert experiments.taken() == {}
    code, said = invoke(*asked[:3], "--only", "plain")
    assert "2 queued, 0 there already\n" in said
    code, said = invoke(*asked)
    assert "2 queued, 2 there already\n" in said
    names = ["plain-s1", "plain-s2", "offline-dpo-s1", "offline-dpo-s2"]
    assert experiments.taken() == dict.fromkeys(names, "queued")
    assert project.git(repo, "status", "--porcelain") == ""
    newest = project.git(repo, "show", "refs/exps/celery/stash:params.yaml")
    values = YAML(typ="safe", pure=True).load(newest)
    assert values["seed"] == 2
    assert list(values["iterations"]) == ["1"]


def test_time_of_a_run_is_the_sum_of_its_stages(repo: Path) -> None:
    assert grid.seconds() is None
    names = project.load_yaml(repo / "dvc.yaml")["stages"]
    for stage in names:
        path = repo / "run" / ("1" if "do" in names[stage] else "0") / "perf" / f"{stage}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text('{"seconds": 9.0, "start_seconds": 1.0}')
    # 5 stages prepare, 12 follow for each of 2 iterations; 10 s each, 0.5 s from one to the next
    assert grid.seconds() == 29 * 10.5
