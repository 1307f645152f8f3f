"""Runs beside each other take different GPUs; made-up names, real processes, real locks."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from mutual_taught.pipeline import devices
from tests import project

STAGE = """
import json, os, subprocess, sys, time
from pathlib import Path
import click
from stages._click import Stage, run

@click.command(cls=Stage)
def main():
    assert "torch" not in sys.modules
    begun = time.monotonic()
    seen = "import os; print(os.environ.get('CUDA_VISIBLE_DEVICES'))"
    child = subprocess.run([sys.executable, "-c", seen], capture_output=True, text=True, check=True)
    held = Path(f"held-{os.getpid()}")
    held.write_text(child.stdout.strip())
    time.sleep(seconds)
    record = {"devices": child.stdout.strip(), "begun": begun, "ended": time.monotonic()}
    Path(f"done-{os.getpid()}").write_text(json.dumps(record))

seconds = float(sys.argv.pop())
run(main)
"""
LISTING = """\
GPU 0: NVIDIA A100-SXM4-80GB (UUID: GPU-aaaa)
  MIG 3g.40gb     Device  0: (UUID: MIG-1111)
  MIG 3g.40gb     Device  1: (UUID: MIG-2222)
GPU 1: NVIDIA A100-SXM4-80GB (UUID: GPU-bbbb)
"""


@pytest.fixture
def copy(here: Path) -> Path:
    """A folder like that of a queue's run: inside the repository, with params.yaml."""
    folder = here / ".dvc" / "tmp" / "exps" / "one"
    folder.mkdir(parents=True)
    shutil.copy(project.ROOT / "presets" / "tiny.yaml", folder / "params.yaml")
    (folder / "stage.py").write_text(STAGE)
    return folder


Begin = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def begin(copy: Path) -> Iterator[Begin]:
    """Start stages as DVC does in a copy, whose repository is four folders up; none outlives."""
    begun: list[subprocess.Popen[str]] = []

    def start(seconds: float, stage: str = "sample@1", **environment: str) -> subprocess.Popen[str]:
        told = {"DVC_STAGE": stage, "DVC_ROOT": str(copy.parents[3]), **environment}
        command = [sys.executable, "stage.py", str(seconds)]
        one = subprocess.Popen(
            command,
            cwd=copy,
            env={**project.ENVIRONMENT, **told},
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        begun.append(one)
        return one

    yield start
    for one in begun:
        one.kill()
        one.communicate()


class Seen(NamedTuple):
    """The devices a stage was shown, and when it had them, in seconds."""

    devices: str
    begun: float
    ended: float


def ended(stage: subprocess.Popen[str], copy: Path) -> Seen:
    """Wait for a stage, and read what it saw."""
    _, said = stage.communicate(timeout=600)
    assert stage.returncode == 0, said
    return Seen(**json.loads((copy / f"done-{stage.pid}").read_text()))


def wait_for(path: Path) -> str:
    while not path.exists() or not path.read_text():
        time.sleep(0.02)
    return path.read_text()


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"MUTUAL_TAUGHT_DEVICES": "a, b,a"}, ["a", "b"]),
        ({"MUTUAL_TAUGHT_DEVICES": "a", "CUDA_VISIBLE_DEVICES": "0,1"}, ["a"]),
        ({"CUDA_VISIBLE_DEVICES": "3,GPU-bbbb"}, ["3", "GPU-bbbb"]),
        ({"CUDA_VISIBLE_DEVICES": "1,-1,2"}, ["1"]),  # as CUDA reads it
        ({"CUDA_VISIBLE_DEVICES": ""}, []),
    ],
)
def test_the_environment_says_which_gpus_runs_share(
    environment: dict[str, str], expected: list[str]
) -> None:
    assert devices.names(environment) == expected


def test_gpus_are_those_that_the_driver_lists_and_mig_parts_stand_for_one_that_is_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\ncat <<'E'\n{LISTING}E\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert devices.names({}) == ["MIG-1111", "MIG-2222", "GPU-bbbb"]
    tool.write_text("#!/bin/sh\necho 'no driver'; exit 9\n")
    assert devices.names({}) == []


@pytest.mark.parametrize(
    ("stage", "changes", "expected"),
    [
        ("select_policy", {}, 0),
        ("sample", {}, 1),
        ("sample", {"engine.name": "vllm", "engine.tensor_parallel": 2}, 2),
        ("score", {"engine.name": "vllm", "engine.tensor_parallel": 2}, 1),
        ("rank_pairs", {"engine.workers": "ray"}, 1),
        ("duel", {"engine.workers": "ray"}, 0),
        ("dpo", {"training.launcher": "torchrun", "training.processes": 4}, 4),
        ("dpo", {"engine.workers": "ray"}, 1),
    ],
)
def test_stage_takes_as_many_gpus_as_it_computes_on(
    copy: Path,
    monkeypatch: pytest.MonkeyPatch,
    stage: str,
    changes: dict[str, object],
    expected: int,
) -> None:
    for name, value in changes.items():
        project.set_param(copy / "params.yaml", name, value)
    monkeypatch.chdir(copy)
    assert devices.needed(stage)[0] == expected


@pytest.mark.slow
def test_runs_beside_each_other_never_have_the_same_gpu(copy: Path, begin: Begin) -> None:
    # Six stages on two GPUs: two at a time, each on one.
    begun = [begin(0.3, MUTUAL_TAUGHT_DEVICES="a,b") for _ in range(6)]
    seen = [ended(stage, copy) for stage in begun]
    assert {one.devices for one in seen} == {"a", "b"}
    for i, one in enumerate(seen):
        for other in seen[i + 1 :]:
            apart = one.ended <= other.begun or other.ended <= one.begun
            assert apart or one.devices != other.devices


@pytest.mark.slow
def test_killed_stage_gives_its_gpu_back_and_the_next_waits_for_it_with_a_line(
    copy: Path, begin: Begin
) -> None:
    first = begin(60, MUTUAL_TAUGHT_DEVICES="a")
    assert wait_for(copy / f"held-{first.pid}") == "a"
    second = begin(0, "score@1", MUTUAL_TAUGHT_DEVICES="a")
    assert second.stdout
    assert second.stdout.readline() == (
        "score@1 waits for 1 free of 1 GPUs; other runs have the rest\n"
    )
    assert not (copy / f"held-{second.pid}").exists()
    first.kill()
    first.communicate()
    assert ended(second, copy).devices == "a"


@pytest.mark.slow
def test_training_in_two_processes_takes_two_gpus_or_none(copy: Path, begin: Begin) -> None:
    project.set_param(copy / "params.yaml", "training.launcher", "torchrun")
    project.set_param(copy / "params.yaml", "training.processes", 2)
    single = begin(60, MUTUAL_TAUGHT_DEVICES="a,b")
    wait_for(copy / f"held-{single.pid}")
    pair = begin(0, "dpo@1", MUTUAL_TAUGHT_DEVICES="a,b")
    assert pair.stdout
    assert pair.stdout.readline().startswith("dpo@1 waits for 2 free of 2 GPUs")
    # The GPU that the training cannot use yet is free for another.
    other = begin(0, "score@1", MUTUAL_TAUGHT_DEVICES="a,b")
    assert ended(other, copy).devices == "b"
    single.kill()
    assert ended(pair, copy).devices == "a,b"


@pytest.mark.slow
def test_training_that_needs_more_gpus_than_there_are_is_refused(copy: Path, begin: Begin) -> None:
    project.set_param(copy / "params.yaml", "training.launcher", "torchrun")
    project.set_param(copy / "params.yaml", "training.processes", 4)
    stage = begin(0, "dpo@1", MUTUAL_TAUGHT_DEVICES="a,b")
    _, said = stage.communicate(timeout=600)
    assert stage.returncode == 1
    assert said == (
        "Error: training.processes is 4, and dpo@1 needs as many GPUs; there are 2: a, b; "
        "set it to 2 or fewer, or show more in MUTUAL_TAUGHT_DEVICES\n"
    )


@pytest.mark.slow
def test_run_in_the_workspace_itself_is_left_as_it_is(copy: Path, begin: Begin) -> None:
    stage = begin(0, DVC_ROOT=str(copy), MUTUAL_TAUGHT_DEVICES="a", CUDA_VISIBLE_DEVICES="0,1")
    assert ended(stage, copy).devices == "0,1"
    assert not (copy / ".work").exists()
