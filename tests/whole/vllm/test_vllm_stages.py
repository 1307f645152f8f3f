"""The stages with engine.name vllm: the whole method, its provenance, and a killed sampler."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mutual_taught.artifacts import tables
from mutual_taught.audit.resample import resample
from mutual_taught.audit.verify import verify
from tests import project
from tests.conftest import run_tiny


@pytest.fixture(scope="module")
def run(first: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of the tiny preset with vllm."""
    changes = {
        "engine.name": "vllm",
        "engine.gpu_memory_utilization": 0.12,
        "engine.shard_size": 1,
        "models.policy.source": "path",
        "models.policy.path": str(first),
    }
    return run_tiny(tmp_path_factory.mktemp("vllm") / "repo", changes)


@pytest.fixture
def repo(run: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The finished run's repository, as the working directory."""
    monkeypatch.chdir(run.parent)
    return run.parent


def test_a_run_verifies(repo: Path) -> None:
    assert list(verify(Path("run"))) == []


@pytest.mark.parametrize("name", ["responses", "previous_answers", "answers", "duels"])
def test_provenance_names_the_engine(repo: Path, name: str) -> None:
    table = {t.name: t for t in tables.EXCHANGED}[name]
    said = tables.provenance(tables.read(Path(f"run/1/{name}.parquet"), table))
    assert (said["engine"], said["tensor_parallel"]) == ("vllm", 1)


def test_shards_drawn_again_have_the_same_bits(repo: Path) -> None:
    found = list(resample(Path("run"), 4, 1))
    assert len(found) == 4
    assert [str(redrawn) for redrawn in found if not redrawn.bit_equal] == []


def test_killed_sampling_goes_on_and_ends_with_the_same_bytes(repo: Path, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "stages.sample",
        "--iteration",
        "1",
        "--policy",
        "run/0/policy",
        "--decision",
        "run/0/decision.json",
        "--prompts",
        "run/0/splits/policy.parquet",
        "--out",
        str(tmp_path),
    ]
    parts = tmp_path / ".work" / "sample@1"
    environment = {**os.environ, "DVC_ROOT": str(tmp_path), "PYTHONPATH": str(project.ROOT)}
    process = subprocess.Popen(command, env=environment)
    while not list(parts.glob("*/part-*/responses.parquet")):
        assert process.poll() is None, "sampling ended before it could be killed"
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    left = {path: path.stat().st_mtime_ns for path in parts.glob("*/part-*/responses.parquet")}
    assert 0 < len(left) < 6
    subprocess.run(command, env=environment, check=True)
    assert {path: path.stat().st_mtime_ns for path in left} == left
    name = "responses.parquet"
    assert (tmp_path / name).read_bytes() == Path("run/1", name).read_bytes()
