"""`mutual-taught status` names what is there, and says of an unfinished run that it is one."""

import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from mutual_taught.artifacts import files
from mutual_taught.audit.verify import verify
from mutual_taught.cli import main
from mutual_taught.planning import schedule
from tests import project


def test_finished_run_names_its_report_and_models(
    finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(finished.parent)
    said = CliRunner().invoke(main, ["status"]).output
    assert said.endswith(
        "Report: run/2/report/index.html\nFinal models: run/2/policy, run/2/reward_model\n"
    )
    assert "t = 2" in said


@pytest.fixture
def copied(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A finished run in its project, to change; the working directory is the project."""
    return project_copy(finished, tmp_path, monkeypatch)


def project_copy(run: Path, target: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(run, target / "run", copy_function=files.link)
    for name in ("dvc.yaml", "params.yaml"):
        shutil.copy(run.parent / name, target / name)
    monkeypatch.chdir(target)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    return target


def status(*options: str, columns: int = 200) -> str:
    result = CliRunner().invoke(main, ["status", *options], env={"COLUMNS": str(columns)})
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.parametrize(("missing", "stage"), [("report", "report@2"), ("eval", "eval@2")])
def test_unfinished_run_names_the_stage_that_is_next_and_no_models(
    copied: Path, missing: str, stage: str
) -> None:
    shutil.rmtree(copied / "run" / "2" / missing)
    said = status()
    assert said.startswith("Mutual-Taught in run: unfinished\n")
    assert said.endswith(f"Not finished: dvc repro goes on, with {stage}.\n")
    assert "Final models" not in said


def test_chosen_responses_that_became_unlikely_are_a_line(copied: Path) -> None:
    assert "displacement" not in status()
    path = copied / "run" / "2" / "metrics" / "dpo.json"
    numbers = files.read_json(path)
    path.unlink()
    files.write_metrics(path, {**numbers, "chosen_logp_change": -7.25})
    assert "Likelihood displacement at t = 2: " in status()
    assert "fell by 7.2 nats" in status()


def told(path: Path, **numbers: float) -> None:
    """Write numbers beside those of a stage."""
    known = files.read_json(path) if path.exists() else {}
    path.unlink(missing_ok=True)  # it may be a link into another test's run
    files.write_metrics(path, {**known, **numbers})


def test_verdict_of_an_independent_judge_is_an_alarm_where_the_teacher_says_otherwise(
    copied: Path,
) -> None:
    metrics, rate = copied / "run" / "2" / "metrics", "policy.win_rate.vs_previous"
    teacher = f"{rate}.previous_reward_model"
    clear = {f"{teacher}.mean": 0.75, f"{teacher}.ci_lo": 0.625, f"{teacher}.p": 0.01}
    told(metrics / "eval.json", **clear)
    said = "r_1 prefers the new answers (0.75 of the duels) and arena_hard.judge the old ones"
    assert said not in status()
    told(metrics / "judge.json", **{"active": 1.0, f"{rate}.arena_hard.judge.ci_hi": 0.4})
    assert f"Alarm at t = 2: {said}; try " in status()
    assert any(said in line for line in json.loads(status("--json"))["alarms"])


def test_project_without_a_run_is_not_run(copied: Path) -> None:
    shutil.rmtree(copied / "run")
    said = status()
    assert said.startswith("Mutual-Taught in run: not run\n")
    assert said.endswith("Nothing has run yet: make run, or dvc repro.\n")


def lock(copied: Path, stage: str, out: str) -> None:
    """Write a dvc.lock that says that a stage has made one output."""
    made = {"path": out, "md5": "0" * 32}
    write_lock(copied, {stage: {"cmd": "x", "outs": [made]}})


def write_lock(folder: Path, stages: Any) -> None:
    (folder / "dvc.lock").write_text(json.dumps({"schema": "2.0", "stages": stages}))  # is YAML


def test_clone_of_a_run_is_not_pulled(copied: Path) -> None:
    shutil.rmtree(copied / "run")
    lock(copied, "report@2", "run/2/report")
    said = status()
    assert said.startswith("Mutual-Taught in run: not pulled\n")
    assert "dvc pull" in said
    assert "dvc repro --pull" in said


@pytest.mark.parametrize("stages", [["a"], {"a": 1}, {"a": {"outs": [{"path": "b"}]}}])
def test_lock_file_that_is_none_is_one_line(copied: Path, stages: Any) -> None:
    write_lock(copied, stages)
    result = CliRunner().invoke(main, ["status"])
    assert result.exit_code == 1
    assert result.output.startswith("Error: dvc.lock: stages is not as DVC writes it; expected")


def test_output_that_this_machine_has_in_its_cache_need_not_be_pulled(copied: Path) -> None:
    shutil.rmtree(copied / "run" / "2" / "report")
    lock(copied, "report@2", "run/2/report")
    cached = copied / ".dvc/cache/files/md5/00"
    cached.mkdir(parents=True)
    (cached / ("0" * 30)).touch()
    assert status().startswith("Mutual-Taught in run: unfinished\n")
    (copied / ".dvc/cache").rename(copied / "shared")
    assert status().startswith("Mutual-Taught in run: not pulled\n")
    (copied / ".dvc/config").write_text("[cache]\n    dir = ../shared\n")
    assert status().startswith("Mutual-Taught in run: unfinished\n")


def test_stage_at_work_is_named_with_its_place_and_what_is_left(copied: Path) -> None:
    shutil.rmtree(copied / "run" / "2" / "report")
    order = ["eval@2", "report@2"]
    path = schedule.create(dict.fromkeys(order, 600.0), os.getpid())
    planned = files.read_json(path)
    files.write_json(path, {**planned, "started": {"report@2": time.time() - 60}})
    said = status()
    assert said.startswith("Mutual-Taught in run: running\n")
    assert "Running: report@2 (stage 2 of 2), for 60 s, about 9 min left\n" in said
    assert json.loads(status("--json"))["running"][0]["stage"] == "report@2"


def test_file_of_a_process_that_is_gone_is_no_stage_at_work(copied: Path) -> None:
    path = schedule.create({"report@2": 600.0}, os.getpid())
    files.write_json(
        path.with_name("4194304.json"),  # above the highest number of a process
        {**files.read_json(path), "started": {"report@2": time.time()}},
    )
    path.unlink()
    assert "Running" not in status()


def test_iteration_that_params_do_not_have_is_a_leftover(copied: Path) -> None:
    shutil.copytree(copied / "run" / "2", copied / "run" / "3")
    said = status()
    assert "t = 3" not in said
    way_out = "mutual-taught gc leftovers lists what can go"
    assert f"Leftover: run/3, which params.yaml does not have; {way_out}." in said
    found = [str(fault) for fault in verify(Path("run"), models=False)]
    assert found[0].startswith(f"run/3: the iteration is there ({way_out}); expected 0, 1, 2")
    (copied / "run").rename(copied / "theirs")  # gc does not look there
    found = [str(fault) for fault in verify(Path("theirs"), models=False)]
    assert found[0].startswith("theirs/3: the iteration is there; expected 0, 1, 2")


def test_parameters_that_changed_since_are_named(copied: Path) -> None:
    values = project.load_yaml(copied / "params.yaml")
    lock(copied, "dpo@1", "run/1/checkpoints")
    content = json.loads((copied / "dvc.lock").read_text())
    content["stages"]["dpo@1"]["params"] = {"params.yaml": {"dpo": values["dpo"]}}
    (copied / "dvc.lock").write_text(json.dumps(content))
    assert "has changed since" not in status()
    project.set_param(copied / "params.yaml", "dpo.beta", 0.3)
    assert "params.yaml has changed since (dpo.beta)" in status()


def test_what_decides_the_numbers_stands_above_the_table(copied: Path) -> None:
    project.set_param(copied / "params.yaml", "select_policy.win_rate_threshold", 0.65)
    head = status().splitlines()[1:4]
    assert head == [
        "policy tiny random Llama",
        "reward model tiny random Llama",
        "τ 0.650, seed 1, float32 sampling, float32 training",
    ]


def test_stopped_iteration_selects_nothing_and_repeats_no_numbers(
    stopped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project_copy(stopped, tmp_path, monkeypatch)
    said = status()
    assert said.startswith("Mutual-Taught in run: stopped at t = 1\n")
    [selected] = [line for line in said.splitlines() if line.startswith("│ best")]
    assert "none (best: " in selected
    gold = next(line for line in said.splitlines() if line.startswith("│ gold"))
    assert gold.count("as t = 0") == 2
    assert "Stopped at t = 1: no checkpoint won τ = 1.010 of its duels (the best, step" in said
    assert "Both models stay those of iteration 0." in said
    ran_with = {"params.yaml": {"select_policy": {"win_rate_threshold": 0.9}}}
    write_lock(tmp_path, {"select_policy@1": {"cmd": "x", "params": ran_with}})
    assert "Stopped at t = 1: no checkpoint won the share τ of its duels (the best" in status()
    page = (tmp_path / "run" / "2" / "report" / "report.md").read_text()
    assert "| selected step | – | none (best: " in page
    assert page.count("as t = 0") > 10


@pytest.mark.parametrize("columns", [60, 80, 100, 110, 200])
def test_numbers_fit_the_terminal_uncut(copied: Path, columns: int) -> None:
    shown = [line for line in status(columns=columns).splitlines() if "[" in line]
    assert max(map(len, shown)) <= columns
    assert all(line.count("[") == line.count("]") for line in shown)


def test_json_has_the_numbers_as_numbers(copied: Path) -> None:
    told = json.loads(status("--json"))
    assert (told["state"], told["seed"], told["sampling_dtype"]) == ("finished", 1, "float32")
    last = told["iterations"][-1]
    assert last["metrics"]["eval"] == files.read_json(copied / "run/2/metrics/eval.json")
    assert (last["iteration"], last["evaluated"]) == (2, True)
    assert told["policy_folder"] == "run/2/policy"


def test_watch_ends_with_the_run(copied: Path) -> None:
    assert "Final models" in status("--watch")


def test_folder_of_a_run_alone_is_shown_without_its_project(
    copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (copied / "run").rename(copied / "theirs")
    assert "Final models: theirs/2/policy, theirs/2/reward_model" in status("--run", "theirs")


def test_run_elsewhere_is_told_by_the_params_beside_it(copied: Path) -> None:
    (copied / "other").mkdir()
    shutil.copytree(copied / "run", copied / "other" / "run", copy_function=files.link)
    shutil.rmtree(copied / "other" / "run" / "2")
    shutil.copy(copied / "params.yaml", copied / "other")
    project.set_param(copied / "other" / "params.yaml", "seed", 7)
    assert "report@2" in status("--run", "other/run")
    values = project.load_yaml(copied / "other" / "params.yaml")
    project.set_param(
        copied / "other" / "params.yaml", "iterations", {"1": values["iterations"]["1"]}
    )
    said = status("--run", "other/run")
    assert said.startswith("Mutual-Taught in other/run: finished\n")
    assert ", seed 7, " in said


def test_iteration_that_has_just_begun_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "run" / "1").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, ["status"])
    assert result.exit_code == 0
    assert "Not finished: dvc repro goes on" in result.output


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
