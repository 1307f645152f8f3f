"""Stages killed at random moments, again and again, end with the bytes of an undisturbed run.

MUTUAL_TAUGHT_KILLS=20 pytest tests/whole/interrupted/test_killed.py kills each stage twenty times.
"""

import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests import in_process, project

KILLS = int(os.environ.get("MUTUAL_TAUGHT_KILLS", "2"))
# Enough work that a kill finds it going on: some 2 s after the first part of it is there.
CHANGES: dict[str, object] = {
    "dpo.epochs": 40,
    "dpo.save_steps": 7,
    "train_rm.epochs": 40,
    "sample.max_new_tokens": 200,
    "engine.shard_size": 1,
    "engine.batch_size": 5,
}
STAGES = {
    "sample": ("responses.parquet", "metrics/sample.json"),
    "dpo": ("checkpoints", "curves/dpo.csv", "metrics/dpo.json"),
    "train_rm": ("reward_model", "reward_training.parquet", "metrics/train_rm.json"),
}


@pytest.fixture(scope="module")
def repo(tmp_path_factory: pytest.TempPathFactory, finished: Path) -> Path:
    """The tiny run, with more work in the stages that are killed."""
    repo = project.copy(tmp_path_factory.mktemp("killed") / "repo", "tiny")
    shutil.copytree(finished, repo / "run")
    for name, value in CHANGES.items():
        project.set_param(repo / "params.yaml", name, value)
    return repo


def start(repo: Path, stage: str) -> "subprocess.Popen[bytes]":
    """Start a stage of iteration 1 as DVC does: its outputs are gone before."""
    for name in STAGES[stage]:
        path = repo / "run" / "1" / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    command = next(
        words
        for name, key, words in in_process.commands(repo / "params.yaml")
        if (name, key) == (stage, "1")
    )
    return subprocess.Popen(
        [sys.executable, "-m", f"stages.{stage}", *command], cwd=repo, env=project.ENVIRONMENT
    )


def outputs(repo: Path, stage: str) -> dict[str, bytes]:
    found = {}
    for name in STAGES[stage]:
        path = repo / "run" / "1" / name
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file():
                found[f"{name}/{file.name}/{file.parent.name}"] = file.read_bytes()
    return found


def parts(repo: Path, stage: str) -> int:
    """Count the files of the work in progress, some of which may be going."""
    return sum(len(files) for _, _, files in os.walk(repo / ".work" / f"{stage}@1"))


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_killed_at_random_moments_ends_with_the_same_bytes(repo: Path, stage: str) -> None:
    undisturbed = start(repo, stage)
    assert undisturbed.wait() == 0
    expected = outputs(repo, stage)
    shutil.rmtree(repo / ".work" / f"{stage}@1")
    chance, killed = random.Random(1), 0
    for _ in range(KILLS):
        before = parts(repo, stage)
        process = start(repo, stage)
        while parts(repo, stage) <= before and process.poll() is None:
            time.sleep(0.01)
        time.sleep(chance.uniform(0, 0.5))
        process.kill()
        killed += process.wait() != 0
    assert killed
    assert start(repo, stage).wait() == 0
    assert outputs(repo, stage) == expected
    assert not list((repo / ".work").rglob("trainer"))
