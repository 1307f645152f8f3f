"""The line before every stage: where it stands, and how long is left."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from dvc.repo import Repo
from dvc.repo.reproduce import plan_repro

from mutual_taught.config import params
from mutual_taught.errors import InputError
from mutual_taught.planning import graph, rates, schedule
from mutual_taught.planning.schedule import Schedule
from tests import project

STAGES = ("sample@1", "dpo@1", "duel@1")


def test_order_of_stages_is_the_one_in_which_dvc_runs_them(tmp_path: Path) -> None:
    repo = project.copy(tmp_path / "repo", "laptop")
    with Repo(str(repo)) as opened:
        expected = [stage.name for stage in plan_repro(opened.index.graph)]
    assert graph.order(repo / "dvc.yaml", repo / "params.yaml") == expected
    assert len(expected) == 29


def test_a_stage_comes_after_what_makes_its_inputs_and_folders_hold_their_files() -> None:
    stages = {
        "last": {"deps": ["run/models/a"], "outs": ["run/end"]},
        "first": {"deps": ["data"], "outs": ["run/models"]},
    }
    assert graph.sorted_as_dvc(graph.nodes(stages, {})) == ["first", "last"]


def test_files_of_similar_names_are_not_taken_for_one_another() -> None:
    stages = {
        "last": {"deps": ["run/policy-2"], "outs": ["run/end"]},
        "first": {"deps": [], "outs": ["run/policy"]},
    }
    assert graph.sorted_as_dvc(graph.nodes(stages, {})) == ["last", "first"]


def begun(planned: dict[str, float | None], took: dict[str, float]) -> Schedule:
    """Make a run whose finished stages took so many seconds."""
    return Schedule(
        list(planned),
        planned,
        dict.fromkeys(took, 1000.0),
        {name: 1000.0 + seconds for name, seconds in took.items()},
    )


def test_line_names_place_and_time() -> None:
    run = begun(dict.fromkeys(STAGES, 100.0), {})
    assert schedule.line(run, "dpo@1") == "stage 2 of 3: dpo@1, about 3 min left"  # 200 s


def test_line_leaves_the_time_out_where_a_stage_has_none() -> None:
    run = begun({"sample@1": 100.0, "dpo@1": 50.0, "duel@1": None}, {})
    assert schedule.line(run, "dpo@1") == "stage 2 of 3: dpo@1"


def test_stage_that_was_not_planned_has_no_place() -> None:
    assert schedule.line(begun({"sample@1": 1.0}, {}), "dpo@1") == "stage dpo@1"


def test_time_left_follows_what_finished_stages_took() -> None:
    run = begun(dict.fromkeys(STAGES, 100.0), {"sample@1": 200.0})
    # left: 200 s as planned; a tenth of the plan is 30 s: (200 + 30) / (100 + 30) = 1.769
    assert schedule.seconds_left(run, "dpo@1") == pytest.approx(200 * 230 / 130)


def test_a_short_stage_that_took_long_does_not_decide() -> None:
    run = begun({"select_policy@1": 1.0, "dpo@1": 1000.0}, {"select_policy@1": 10.0})
    # a tenth of the plan is 100.1 s: 1000 * 110.1 / 101.1, not ten times 1000
    assert schedule.seconds_left(run, "dpo@1") == pytest.approx(1000 * 110.1 / 101.1)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.2, "1 s"), (89, "89 s"), (90, "2 min"), (720, "12 min"), (5400, "2 h"), (1e6, "11.6 days")],
)
def test_time_is_written_in_its_natural_unit(seconds: float, said: str) -> None:
    assert schedule.spell(seconds) == said


def perf(run: Path, t: str, stage: str, **numbers: object) -> Path:
    path = run / t / "perf" / f"{stage}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(numbers))
    return path


def test_measured_stages_are_found_by_name_then_by_kind_then_by_kin(here: Path) -> None:
    perf(Path("run"), "0", "eval_base", seconds=7, start_seconds=1)
    perf(Path("run"), "1", "dpo", seconds=20, start_seconds=3)
    perf(Path("run"), "2", "dpo", seconds=10, start_seconds=3)
    known = rates.history()
    assert rates.nearest("dpo@2", known) == {"seconds": 10, "start_seconds": 3}
    assert rates.nearest("dpo@3", known) == {"seconds": 20, "start_seconds": 3}
    assert rates.nearest("eval@1", known) == {"seconds": 7, "start_seconds": 1}
    assert rates.nearest("sample@1", known) is None
    assert rates.whole(known["dpo@1"], 2.0) == 43.0 + rates.BETWEEN


@pytest.mark.parametrize("value", ["x", None, True, -1, [1], float("nan"), float("inf")])
def test_measured_stage_that_is_no_number_is_one_line(here: Path, value: object) -> None:
    perf(Path("run"), "1", "dpo", seconds=value)
    with pytest.raises(InputError, match=r"run/1/perf/dpo\.json: seconds is .*; expected a number"):
        rates.history()


STAGE = """
import sys, click
from stages._click import run

@click.command()
@click.option("--code", default=0)
def main(code):
    sys.exit(code)

run(main)
"""


def start(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", STAGE, *arguments],
        env={**project.ENVIRONMENT, **environment},
        text=True,
        capture_output=True,
        check=False,
    )


@pytest.fixture
def cloned(here: Path) -> Path:
    for name in ("dvc.yaml", "presets/tiny.yaml"):
        (here / Path(name).name).write_bytes((project.ROOT / name).read_bytes())
    (here / "tiny.yaml").rename("params.yaml")
    return here


def test_stage_of_a_plain_repro_says_its_place_and_is_noted(cloned: Path) -> None:
    done = start(DVC_STAGE="dpo@1", MUTUAL_TAUGHT_STARTED_BY=str(os.getpid()))
    assert done.stderr == "stage 10 of 29: dpo@1\n"
    noted = schedule.read(schedule.folder() / f"{os.getpid()}.json")
    assert len(noted.order) == 29
    assert 0 <= noted.finished["dpo@1"] - noted.started["dpo@1"] < 60


def test_stage_that_fails_is_not_noted_as_finished(cloned: Path) -> None:
    done = start("--code", "3", DVC_STAGE="dpo@1", MUTUAL_TAUGHT_STARTED_BY=str(os.getpid()))
    assert done.returncode == 3
    noted = schedule.read(schedule.folder() / f"{os.getpid()}.json")
    assert "dpo@1" in noted.started
    assert not noted.finished


def test_stage_of_a_planned_run_reads_the_plan(cloned: Path) -> None:
    path = schedule.create({"sample@1": 30.0, "dpo@1": 40.0}, os.getpid())
    done = start(DVC_STAGE="dpo@1", MUTUAL_TAUGHT_SCHEDULE=str(path))
    assert done.stderr == "stage 2 of 2: dpo@1, about 40 s left\n"


@pytest.mark.parametrize("content", ["{", "[]", '{"order": 3}', '{"order": [], "planned": []}'])
def test_file_of_a_run_that_is_none_stops_no_stage(cloned: Path, content: str) -> None:
    path = cloned / "plan.json"
    path.write_text(content)
    done = start(DVC_STAGE="dpo@1", MUTUAL_TAUGHT_SCHEDULE=str(path))
    assert (done.returncode, done.stderr) == (0, "")


def test_stage_started_by_hand_says_nothing(cloned: Path) -> None:
    assert start().stderr == ""
    assert not schedule.folder().exists()


def test_files_of_runs_that_have_ended_are_deleted(here: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    old = schedule.create({}, gone.pid)
    other = schedule.create({}, os.getppid())
    new = schedule.create({"dpo@1": None}, os.getpid())
    assert not old.exists()
    assert {other, new} == set(schedule.folder().iterdir())


def test_file_of_an_earlier_process_of_the_same_number_is_not_gone_on_with(cloned: Path) -> None:
    path = schedule.create({"sample@1": 30.0}, os.getpid())
    before = psutil.Process().create_time() - 100
    os.utime(path, (before, before))
    done = start(DVC_STAGE="dpo@1", MUTUAL_TAUGHT_STARTED_BY=str(os.getpid()))
    assert done.stderr == "stage 10 of 29: dpo@1\n"
    assert path.stat().st_mtime > time.time() - 60


def test_values_of_params_decide_how_many_stages_there_are(cloned: Path) -> None:
    third = {"prev": "2", "sample": {}, "dpo": {}, "train_rm": {}}
    values = params.read(Path("params.yaml"))["iterations"]
    project.set_param(Path("params.yaml"), "iterations", {**values, "3": third})
    assert len(graph.order()) == 41
