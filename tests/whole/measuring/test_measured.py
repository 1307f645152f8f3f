"""The commands as processes of their own: killed and gone on, on Ray, outside a project."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests import project

ENVIRONMENT = {
    **{key: value for key, value in project.ENVIRONMENT.items() if key != "DVC_ROOT"},
    "OMP_NUM_THREADS": "1",
    "RAY_worker_niceness": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
}
ITEMS = 60
Command = list[str]


def start(here: Path, command: Command) -> subprocess.Popen[str]:
    """Type a command of ours."""
    return subprocess.Popen(
        [sys.executable, "-m", "mutual_taught", *command],
        cwd=here,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def done(here: Path, command: Command) -> str:
    """Type a command, and wait until it ends well; give what it said on standard error."""
    process = start(here, command)
    _, said = process.communicate(timeout=600)
    assert process.returncode == 0, said
    return said


def killed(here: Path, command: Command) -> int:
    """Kill a command when some of its shards are finished; give how many."""
    process = start(here, command)
    while process.poll() is None and len(list(here.glob(".work/*/*/part-*/*.parquet"))) < 3:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    return len(list(here.glob(".work/*/*/part-*/*.parquet")))


@pytest.fixture
def world(tmp_path: Path) -> Path:
    """Items and prompts, and two files of values: shards of one prompt, here and on Ray."""
    rows = [
        {"prompt": f"Name {number}?", "chosen": f"Wave {number}", "rejected": "No" * (number % 7)}
        for number in range(1, ITEMS + 1)
        if number % 7
    ]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for name, workers in (("local", "local"), ("ray", "ray")):
        path = tmp_path / f"{name}.yaml"
        shutil.copy(project.ROOT / "presets" / "tiny.yaml", path)
        for key, value in (
            ("score.shard_size", 1),
            ("engine.shard_size", 1),
            ("engine.dtype", "float32"),
            ("engine.workers", workers),
        ):
            project.set_param(path, key, value)
    return tmp_path


def evaluation(model: Path, out: str, values: str = "local.yaml") -> Command:
    words = ["evaluate", str(model), "--on", "pairs", "--data", "pairs.jsonl", "--out", out]
    return [*words, "--params", values, "--max-length", "200"]


def sampling(model: Path, out: str, values: str = "local.yaml") -> Command:
    words = ["sample", "pairs.jsonl", "--policy", str(model), "--out", out, "--params", values]
    return [*words, "--max-length", "200", "--max-new-tokens", "24"]


def records(out: Path) -> bytes:
    return (out / "pairs" / "records.parquet").read_bytes()


def test_an_evaluation_that_was_killed_goes_on_and_ends_with_the_same_bytes(
    world: Path, reward_folder: Path
) -> None:
    done(world, evaluation(reward_folder, "whole"))
    finished = killed(world, evaluation(reward_folder, "part"))
    assert finished >= 3
    assert not (world / "part" / "pairs").exists()
    done(world, evaluation(reward_folder, "part"))
    assert records(world / "part") == records(world / "whole")
    assert [path.name for path in (world / "part").iterdir()] == ["pairs"]
    assert not list(world.glob(".work/evaluate-pairs/*/"))


def test_a_sampling_that_was_killed_goes_on_and_ends_with_the_same_bytes(
    world: Path, policy_folder: Path
) -> None:
    done(world, sampling(policy_folder, "whole.jsonl"))
    assert killed(world, sampling(policy_folder, "part.jsonl")) >= 3
    assert not (world / "part.jsonl").exists()
    done(world, sampling(policy_folder, "part.jsonl"))
    assert (world / "part.jsonl").read_bytes() == (world / "whole.jsonl").read_bytes()


def test_a_cluster_gives_the_bytes_of_one_process(
    world: Path, policy_folder: Path, reward_folder: Path
) -> None:
    done(world, evaluation(reward_folder, "one"))
    done(world, evaluation(reward_folder, "ray", "ray.yaml"))
    assert records(world / "ray") == records(world / "one")
    done(world, sampling(policy_folder, "one.jsonl"))
    done(world, sampling(policy_folder, "ray.jsonl", "ray.yaml"))
    assert (world / "ray.jsonl").read_bytes() == (world / "one.jsonl").read_bytes()


def test_refusals_take_less_than_two_seconds_of_a_processor(
    world: Path, reward_folder: Path
) -> None:
    refused = evaluation(reward_folder, "x")
    refused[refused.index("pairs")] = "paris"
    before = os.times()
    process = start(world, refused)
    _, said = process.communicate(timeout=60)
    after = os.times()
    assert process.returncode == 1
    assert "did you mean 'pairs'" in said
    assert (
        after.children_user + after.children_system - before.children_user - before.children_system
        < 2
    )
