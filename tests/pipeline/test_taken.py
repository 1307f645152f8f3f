"""Parts go when DVC has what was made of them, and not a moment before."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mutual_taught.artifacts.files import read_json
from mutual_taught.pipeline import taken, work
from tests import project

STAGE = """
import sys
from pathlib import Path
import click
from mutual_taught.pipeline import work
from stages._click import Stage, run

@click.command(cls=Stage)
def main():
    with work.folder(sys.argv[0], {"seed": 1}) as place:
        print("went on" if (place / "part").exists() else "from the start")
        (place / "part").touch()
    Path(f"{sys.argv[0]}.txt").write_text("made")
    (Path(f"{sys.argv[0]}.model") / "step").mkdir(parents=True)
    (Path(f"{sys.argv[0]}.model") / "step" / "manifest.json").write_text("{}")

sys.argv = [Path(__file__).stem]
run(main)
"""
# A stage has ended well when DVC is killed: what it made is neither in the cache nor in dvc.lock.
KILL = "if test -e kill; then kill -9 $PPID; fi"


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """A project of three stages that need each other for nothing."""
    project.empty(tmp_path)
    shutil.copy(project.ROOT / ".dvc" / "config", tmp_path / ".dvc" / "config")
    shutil.copy(project.ROOT / "presets" / "tiny.yaml", tmp_path / "params.yaml")
    graph = {}
    for name in ("first", "second", "third"):
        (tmp_path / f"{name}.py").write_text(STAGE)
        command = f"{sys.executable} {name}.py && {KILL}"
        graph[name] = {
            "cmd": command,
            "deps": [f"{name}.py"],
            "outs": [f"{name}.txt", f"{name}.model"],
        }
    (tmp_path / "dvc.yaml").write_text(json.dumps({"stages": graph}))
    return tmp_path


def repro(repo: Path, stage: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "dvc", "repro", stage],
        cwd=repo,
        env=project.ENVIRONMENT,
        text=True,
        capture_output=True,
        check=False,
    )
    return done.stdout


def parts(repo: Path) -> list[str]:
    return sorted(path.parent.parent.name for path in repo.glob(".work/*/*/part"))


@pytest.mark.slow
def test_parts_outlive_a_dvc_that_is_killed_before_it_takes_the_outputs(repo: Path) -> None:
    (repo / "kill").touch()
    assert "from the start" in repro(repo, "first")
    assert not (repo / "dvc.lock").exists()
    (repo / "kill").unlink()
    repro(repo, "second")  # another stage ends in between: first has no outputs still
    assert parts(repo) == ["first", "second"]
    assert "went on" in repro(repo, "first")
    repro(repo, "third")
    assert parts(repo) == ["third"]
    assert [read_json(note)["stage"] for note in (repo / ".work" / "made").iterdir()] == ["third"]


def test_outputs_of_an_earlier_run_in_dvc_lock_do_not_count(here: Path) -> None:
    with work.folder("first", {"seed": 1}) as place:
        (place / "part").touch()
    Path("first.txt").write_text("made")
    taken.note("first", ["first.txt"])
    locked = "stages:\n  first:\n    cmd: make\n    outs:\n    - path: first.txt\n      hash: md5\n"
    Path("dvc.lock").write_text(f"{locked}      md5: {'0' * 32}\n      size: 4\n")
    taken.sweep()
    assert (place / "part").exists()
    # printf made | md5sum
    Path("dvc.lock").write_text(f"{locked}      md5: 4ab8710d781ba5b13aaf561cafd896b7\n")
    taken.sweep()
    assert not place.exists()


def test_parts_that_somebody_works_at_stay(here: Path) -> None:
    Path("first.txt").write_text("made")
    Path("dvc.lock").write_text(
        "stages:\n  first:\n    outs:\n    - path: first.txt\n"
        "      md5: 4ab8710d781ba5b13aaf561cafd896b7\n"
    )
    with work.folder("first", {"seed": 1}) as place:
        taken.note("first", ["first.txt"])
        taken.sweep()
        assert place.exists()
    taken.sweep()
    assert not place.exists()


def test_damaged_note_stops_nothing(here: Path) -> None:
    taken.notes().mkdir(parents=True)
    (taken.notes() / "first.json").write_text('{"places": 3}')
    taken.sweep()
    assert (taken.notes() / "first.json").exists()
