"""Work in progress: one process, exactly these inputs, one place."""

import json
import os
import subprocess
import sys
from pathlib import Path
from unittest.mock import ANY

import pytest

from mutual_taught.artifacts.files import read_json
from mutual_taught.pipeline import work
from tests import project

ROOT = project.ROOT
INPUTS = {"policy": "abc", "seed": 1}
SECOND = """
from mutual_taught.pipeline import work
from mutual_taught.errors import InputError
work.PATIENCE = ()
try:
    with work.folder("sample@1", {"policy": "abc", "seed": 1}):
        print("entered")
except InputError as error:
    print(error)
"""


def second_process() -> str:
    done = subprocess.run(
        [sys.executable, "-c", SECOND], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_second_process_is_refused_in_one_line(here: Path) -> None:
    with work.folder("sample@1", INPUTS):
        assert second_process() == (
            ".work/sample@1: another run of sample@1 works there; wait for it, or stop it"
        )


def test_second_process_enters_when_the_first_has_left(here: Path) -> None:
    with pytest.raises(RuntimeError), work.folder("sample@1", INPUTS):
        raise RuntimeError("killed")
    assert second_process() == "entered"


def test_run_with_other_inputs_works_beside_and_leaves_the_parts(here: Path) -> None:
    with work.folder("sample@1", INPUTS) as place:
        (place / "part").touch()
        for seed in range(2, 2 + 2 * work.KEPT):  # more than are kept
            with work.folder("sample@1", {**INPUTS, "seed": seed}):
                assert (place / "part").exists()


def test_second_process_waits_a_moment_for_one_that_is_about_to_end(here: Path) -> None:
    with work.folder("sample@1", INPUTS):
        waiting = subprocess.Popen(
            [sys.executable, "-c", SECOND.replace("()", "(0.1,) * 100")],
            stdout=subprocess.PIPE,
            text=True,
        )
        with pytest.raises(subprocess.TimeoutExpired):
            waiting.wait(timeout=1.0)
    assert waiting.communicate()[0].strip() == "entered"


EXPERIMENT = """
import sys, time
from mutual_taught.pipeline import work
with work.folder("sample@1", {"policy": sys.argv[1]}) as place:
    if list(place.glob("part")):
        print("found", flush=True)
    (place / "part").touch()
    print("at work", flush=True)
    sys.stdin.readline()
"""


def experiment(repo: Path, name: str, policy: str) -> "subprocess.Popen[str]":
    """Start a stage as DVC does for a queued experiment: in a folder of its own."""
    folder = repo / name
    folder.mkdir(exist_ok=True)
    return subprocess.Popen(
        [sys.executable, "-c", EXPERIMENT, policy],
        cwd=folder,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "DVC_ROOT": str(repo), "PYTHONPATH": str(ROOT)},
    )


def said(process: "subprocess.Popen[str]") -> str:
    assert process.stdout
    return process.stdout.readline().strip()


def test_experiments_work_beside_each_other_and_leave_each_others_parts(here: Path) -> None:
    first = experiment(here, "one", "a")
    assert said(first) == "at work"
    second = experiment(here, "two", "b")
    assert said(second) == "at work"
    assert len(list((here / ".work" / "sample@1").glob("*/part"))) == 2
    for process in (first, second):
        process.communicate("\n")
        assert process.returncode == 0


def test_experiment_waits_for_one_that_does_the_same_and_takes_its_parts(here: Path) -> None:
    first = experiment(here, "one", "a")
    assert said(first) == "at work"
    second = experiment(here, "two", "a")
    assert second.stderr
    assert second.stderr.readline() == "sample@1 waits for another run of it\n"
    first.communicate("\n")
    assert said(second) == "found"
    second.communicate("\n")


def test_parts_of_a_killed_experiment_are_found_by_its_next_try(here: Path) -> None:
    first = experiment(here, "one", "a")
    assert said(first) == "at work"
    first.kill()
    first.communicate()
    again = experiment(here, "two", "a")
    assert said(again) == "found"
    again.communicate("\n")


@pytest.mark.slow
def test_run_in_the_workspace_is_refused_while_an_experiment_does_the_same(here: Path) -> None:
    other = experiment(here, "one", "other")
    assert said(other) == "at work"
    assert second_process() == "entered"
    running = subprocess.Popen(
        [sys.executable, "-c", EXPERIMENT.replace('{"policy": sys.argv[1]}', str(INPUTS))],
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "DVC_ROOT": str(here), "PYTHONPATH": str(ROOT)},
    )
    assert said(running) == "at work"
    assert second_process().startswith(".work/sample@1: another run of sample@1 works there")
    for process in (running, other):
        process.communicate("\n")
    assert second_process() == "entered"


def test_finished_parts_are_found_again_with_the_same_inputs(here: Path) -> None:
    with work.folder("sample@1", INPUTS) as place:
        (place / "part").write_text("done")
    with work.folder("sample@1", dict(reversed(INPUTS.items()))) as again:
        assert (again / "part").read_text() == "done"


def test_parts_of_the_last_two_other_inputs_stay(here: Path) -> None:
    places = []
    for seed in (2, 3, 4, 5):
        with work.folder("sample@1", {**INPUTS, "seed": seed}) as place:
            (place / "part").touch()
        os.utime(place / "fingerprint.json", (seed, seed))
        places.append(place)
    with work.folder("sample@1", INPUTS) as new:
        assert [path.name for path in new.iterdir()] == ["fingerprint.json"]
    assert [place.exists() for place in places] == [False, False, True, True]
    with work.folder("sample@1", {**INPUTS, "seed": 4}) as again:
        assert (again / "part").exists()


def test_parts_that_somebody_works_at_do_not_count_as_one_of_the_last_two(here: Path) -> None:
    killed = []
    for seed in (2, 3):
        with work.folder("sample@1", {**INPUTS, "seed": seed}) as place:
            killed.append(place)
        os.utime(place / "fingerprint.json", (seed, seed))
    first, second = ({**INPUTS, "seed": seed} for seed in (4, 5))
    with (
        work.folder("sample@1", first),
        work.folder("sample@1", second),
        work.folder("sample@1", INPUTS),
    ):
        assert all(place.exists() for place in killed)


def test_parts_of_other_stages_stay(here: Path) -> None:
    with work.folder("sample@1", INPUTS) as first:
        pass
    with work.folder("sample@2", INPUTS):
        assert first.exists()


def test_fingerprint_is_written_beside_the_parts(here: Path) -> None:
    with work.folder("sample@1", INPUTS) as place:
        assert read_json(place / "fingerprint.json") == {
            **INPUTS,
            "code": work.code("sample"),
            "versions": work.versions(),
        }


def test_other_code_of_the_stage_or_other_versions_are_another_place(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with work.folder("sample@1", INPUTS) as place:
        pass
    for name, value in (("code", "other"), ("versions", {"torch": "0"})):
        with monkeypatch.context() as patch:
            patch.setattr(work, name, lambda *_, value=value: value)
            with work.folder("sample@1", INPUTS) as other:
                assert other != place


def test_code_of_a_stage_is_what_dvc_yaml_says_decides_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = {"stages": {"report": {"deps": ["run/1", "mutual_taught/a.py", "mutual_taught/room"]}}}
    (tmp_path / "dvc.yaml").write_text(json.dumps(graph))
    (tmp_path / "mutual_taught" / "room").mkdir(parents=True)
    for name in ("a", "b", "room/c"):
        (tmp_path / "mutual_taught" / f"{name}.py").write_text(name)
    monkeypatch.setattr(work, "ROOT", tmp_path)

    def hashed(changed: str) -> tuple[str, str]:
        (tmp_path / "mutual_taught" / f"{changed}.py").write_text("edited")
        return work.code.__wrapped__("report"), work.code.__wrapped__()

    before = hashed("b")
    (tmp_path / "mutual_taught" / "b.py").write_text("edited again")
    assert (work.code.__wrapped__("report"), work.code.__wrapped__()) == (before[0], ANY)
    assert work.code.__wrapped__() != before[1]
    assert hashed("a")[0] != before[0]
    inner = work.code.__wrapped__("report")
    assert hashed("room/c")[0] != inner


@pytest.mark.parametrize(
    ("place", "stage"),
    [
        ("sample@1", "sample"),
        ("duel@2-step-000016", "duel"),
        ("eval@0-rewards-r0", "eval_base"),
        ("answer_previous@1", "answer_previous"),
        ("prepare_reward_model", "prepare_reward_model"),
    ],
)
def test_folder_of_work_is_of_a_stage_of_dvc_yaml(place: str, stage: str) -> None:
    assert work.stage_of(place) == stage
    assert stage in project.load_yaml(ROOT / "dvc.yaml")["stages"]


def test_work_is_in_the_current_folder_without_dvc(here: Path) -> None:
    assert work.root() == Path(".work")


def test_work_is_in_the_repository_that_dvc_names(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DVC_ROOT", str(here / "repo"))
    with work.folder("sample@1", INPUTS) as place:
        assert place.parent == here / "repo" / ".work" / "sample@1"
