"""S3, on a real server that checks signatures: keys, and a server that goes away."""

import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest
import s3fs

from tests import project
from tests.whole.sharing.conftest import ENVIRONMENT, Server, clone, digest, dvc, publish, tried

REWARDS = "run/1/rewards.parquet"


def keys(name: str, secret: str | None = None) -> dict[str, str]:
    return {"AWS_ACCESS_KEY_ID": name, "AWS_SECRET_ACCESS_KEY": secret or f"{name}-secret"}


WRITER, READER = keys("writer"), keys("reader")


@pytest.fixture(scope="session")
def files(server: Server) -> s3fs.S3FileSystem:
    return s3fs.S3FileSystem(
        key="writer", secret="writer-secret", endpoint_url=server.url, use_listings_cache=False
    )


@pytest.fixture
def bucket(files: s3fs.S3FileSystem) -> str:
    name = f"models-{uuid.uuid4().hex[:8]}"
    files.mkdir(name)
    return name


@pytest.fixture
def ready(repo: Path, server: Server, bucket: str) -> Path:
    """The run with the remote of docs/sharing.md, committed; nothing is pushed there."""
    dvc(repo, "remote", "add", "-d", "store", f"s3://{bucket}/runs")
    for name, value in {
        "endpointurl": server.url,
        "region": "us-east-1",
        "verify": "true",
        "connect_timeout": "5",
        "read_timeout": "20",
    }.items():
        dvc(repo, "remote", "modify", "store", name, value)
    publish(repo)
    return repo


def test_writer_pushes_and_a_reader_pulls_and_runs_nothing(ready: Path) -> None:
    dvc(ready, "push", **WRITER)
    mate = clone(ready)
    dvc(mate, "pull", "run/2/report", **READER)
    assert not (mate / "run" / "1").exists()
    dvc(mate, "pull", **READER)
    assert project.ran(dvc(mate, "repro")) == set()
    assert (mate / REWARDS).read_bytes() == (ready / REWARDS).read_bytes()


def test_local_keys_work_and_are_in_no_committed_file(ready: Path) -> None:
    for name, value in {"access_key_id": "writer", "secret_access_key": "writer-secret"}.items():
        dvc(ready, "remote", "modify", "--local", "store", name, value)
    dvc(ready, "push", "run/2/report")
    project.git(ready, "add", "-A")
    committed = project.git(ready, "grep", "--cached", "-c", "endpointurl", "--", ".dvc")
    assert committed.startswith(".dvc/config:")
    assert "writer-secret" not in project.git(ready, "diff", "--cached", "HEAD")
    assert ".dvc/config.local" not in project.git(ready, "ls-files")


@pytest.mark.parametrize(
    ("who", "code", "said"),
    [
        (keys("writer", "wrong"), 255, "Forbidden"),
        (keys("nobody"), 255, "Forbidden"),
        (READER, 1, "Access Denied"),
    ],
)
def test_key_that_may_not_write_pushes_nothing(
    ready: Path, files: s3fs.S3FileSystem, bucket: str, who: dict[str, str], code: int, said: str
) -> None:
    refused = tried(ready, "push", **who)
    assert refused.returncode == code
    assert said in refused.stderr
    assert "Traceback" not in refused.stderr
    assert files.find(bucket) == []


def test_endpoint_that_nobody_answers_is_an_error(ready: Path) -> None:
    dvc(ready, "remote", "modify", "store", "endpointurl", "http://127.0.0.1:1")
    refused = tried(ready, "push", **WRITER)  # 76 s without connect_timeout where nothing answers
    assert refused.returncode == 255
    assert "Could not connect to the endpoint URL" in refused.stderr


def test_push_that_the_server_left_goes_on_when_it_is_back(
    ready: Path, server: Server, files: s3fs.S3FileSystem, bucket: str
) -> None:
    command = [sys.executable, "-m", "dvc", "push", "-j", "1"]
    with subprocess.Popen(
        command,
        cwd=ready,
        env={**ENVIRONMENT, **WRITER},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as pushing:
        while not (before := files.find(bucket)):
            assert pushing.poll() is None
            time.sleep(0.05)
        server.stop()
        try:
            said, _ = pushing.communicate(timeout=900)
        finally:
            pushing.kill()
    assert pushing.returncode != 0, said
    server.start()
    dvc(ready, "push", **WRITER)
    assert set(before) < set(files.find(bucket))
    mate = clone(ready)
    dvc(mate, "pull", **READER)
    assert project.ran(dvc(mate, "repro")) == set()


def test_damaged_object_is_taken_without_verify_and_else_refused_and_mended(
    ready: Path, files: s3fs.S3FileSystem, bucket: str
) -> None:
    dvc(ready, "push", **WRITER)
    md5 = digest(ready, "score@1", REWARDS)
    name = f"{bucket}/runs/files/md5/{md5[:2]}/{md5[2:]}"
    files.pipe(name, b"damaged")
    careless, mate = clone(ready, "careless"), clone(ready)
    dvc(careless, "remote", "modify", "--unset", "store", "verify")
    dvc(careless, "pull", REWARDS, **READER)
    assert (careless / REWARDS).read_bytes() == b"damaged"
    refused = tried(mate, "pull", REWARDS, **WRITER)
    assert refused.returncode == 1
    assert not (mate / REWARDS).exists()
    if files.exists(name):
        files.rm(name)
    dvc(ready, "push", **WRITER)
    dvc(mate, "pull", REWARDS, **READER)
    assert (mate / REWARDS).read_bytes() == (ready / REWARDS).read_bytes()
