"""What all stages share: a stage dies with its DVC, and says in one line what the user can mend."""

import os
import subprocess
import sys
import time
from pathlib import Path

import click
import psutil
import pytest
from click.testing import CliRunner

from stages import sample
from stages._click import Stage

CHILD = """
import os, pathlib, time
import click
from stages._click import run

@click.command()
def main():
    pathlib.Path("pid.tmp").write_text(str(os.getpid()))
    pathlib.Path("pid.tmp").rename("pid")
    time.sleep(120)

run(main)
"""
PARENT = """
import subprocess, sys
subprocess.run(["sh", "-c", f"{sys.executable} child.py; true"])
"""


def begin(here: Path, **environment: str) -> tuple[subprocess.Popen[bytes], psutil.Process]:
    """Start a process that starts a shell that starts a stage; give the first and the last."""
    (here / "child.py").write_text(CHILD)
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT], cwd=here, env={**os.environ, **environment}
    )
    while not (here / "pid").exists():
        assert parent.poll() is None
        time.sleep(0.02)
    return parent, psutil.Process(int((here / "pid").read_text()))


def test_stage_dies_with_its_dvc_though_the_shell_between_lives(here: Path) -> None:
    parent, stage = begin(here, DVC_STAGE="sample@1")
    parent.kill()
    parent.wait()
    gone, _ = psutil.wait_procs([stage], timeout=60)
    assert gone


def test_stage_started_by_hand_outlives_its_parent(here: Path) -> None:
    parent, stage = begin(here)
    parent.kill()
    parent.wait()
    try:
        time.sleep(1.0)
        assert stage.is_running()
        assert stage.status() != psutil.STATUS_ZOMBIE
    finally:
        stage.kill()


ERRORS = [
    (FileExistsError(17, "File exists", "run/0/policy"), "run/0/policy exists; expected an empty"),
    (PermissionError(13, "Permission denied", "run"), "run: Permission denied"),
    (OSError(30, "Read-only file system", "run"), "run: Read-only file system; make it writable"),
    (OSError(28, "No space left on device", "run/x"), "run/x: No space left on device; free some"),
]


@pytest.mark.parametrize(("error", "said"), ERRORS, ids=lambda value: type(value).__name__)
def test_error_of_the_disk_is_one_line(error: OSError, said: str) -> None:
    @click.command(cls=Stage)
    def stage() -> None:
        raise error

    result = CliRunner().invoke(stage)
    assert result.exit_code == 1
    assert result.output.startswith(f"Error: {said}")
    assert result.output.count("\n") == 1


LIMITED = """
import resource, sys
import click
from stages._click import Stage

@click.command(cls=Stage)
def main():
    import torch
    resource.setrlimit(resource.RLIMIT_AS, (1 << 36, 1 << 36))
    torch.ones(1 << 40)

main(prog_name="python -m stages.dpo")
"""


THREADLESS = """
import threading
import click
from stages import _click

def full(thread):
    raise RuntimeError("can't start new thread")

threading.Thread.start = full
_click.run(click.Command("dpo"))
"""


SHORT = [
    (
        LIMITED,
        "no memory is left (",
        "stop what else uses it, or lower dpo.token_budget, or set training.gradient_checkpointing",
    ),
    (THREADLESS, "no process or thread can be started (", "pids of a container)"),
]


@pytest.mark.parametrize(("code", "begin", "end"), SHORT, ids=["memory", "thread to watch DVC"])
def test_what_the_machine_has_not_is_one_line(here: Path, code: str, begin: str, end: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "DVC_STAGE": "dvc.yaml:dpo@1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert done.stderr.startswith(f"Error: dpo@1: {begin}")
    assert done.stderr.endswith(f"{end}\n")
    assert done.stderr.count("\n") == 1


def test_error_of_ours_is_not_hidden() -> None:
    @click.command(cls=Stage)
    def stage() -> None:
        raise OSError(5, "Input/output error", "run/x")

    assert isinstance(CliRunner().invoke(stage).exception, OSError)


@pytest.mark.parametrize("t", ["../../x", "0", "01", "-1", "1/../2", "", "x", "\u0661", "9" * 5000])
def test_iteration_is_a_number_and_no_path(here: Path, t: str) -> None:
    options = ["--policy", "p", "--decision", "d", "--prompts", "q", "--out", "o"]
    result = CliRunner().invoke(sample.main, ["--iteration", t, *options])
    assert result.exit_code == 2
    assert f"{t[:40]!r} is no iteration; expected a number from 1" in result.output
