"""A finished run with a bare origin, and an S3 server that asks for signatures."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests import project

ENVIRONMENT = {
    **project.ENVIRONMENT,
    "PYTHONPATH": os.pathsep.join([str(project.ROOT), os.environ.get("PYTHONPATH", "")]),
}
SERVICES = ("master", "volume", "filer", "s3")
# As the server names them: who may do what.
IDENTITIES = {
    "identities": [
        {
            "name": name,
            "credentials": [{"accessKey": name, "secretKey": f"{name}-secret"}],
            "actions": actions,
        }
        for name, actions in {
            "writer": ["Admin", "Read", "Write", "List"],
            "reader": ["Read", "List"],
        }.items()
    ]
}


def tried(repo: Path, *args: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run DVC, whatever comes of it; a hang is a failure."""
    return subprocess.run(
        [sys.executable, "-m", "dvc", *args],
        cwd=repo,
        env={**ENVIRONMENT, **environment},
        text=True,
        capture_output=True,
        check=False,
        timeout=1200,
    )


def dvc(repo: Path, *args: str, **environment: str) -> str:
    """Run DVC and give what it printed."""
    done = tried(repo, *args, **environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository whose fake stages ran once, nothing committed since; read it only."""
    repo = project.copy(tmp_path_factory.mktemp("run") / "repo", "tiny", fake=True)
    project.dvc(repo, "repro", "-q")
    return repo


@pytest.fixture
def repo(finished_run: Path, tmp_path: Path) -> Path:
    """A copy of the run, whose origin is a bare repository beside it."""
    repo = Path(shutil.copytree(finished_run, tmp_path / "repo", symlinks=True))
    project.git(tmp_path, "init", "-q", "--bare", "origin")
    project.git(repo, "remote", "add", "origin", str(tmp_path / "origin"))
    return repo


def publish(repo: Path) -> None:
    """Commit what a clone needs, and push it to the origin."""
    project.git(repo, "add", "dvc.lock", "params.yaml", ".dvc/config")
    project.git(repo, "commit", "-qm", "Share the run")
    project.git(repo, "push", "-q", "origin", "HEAD")
    project.git(repo.parent / "origin", "symbolic-ref", "HEAD", _branch(repo))


def _branch(repo: Path) -> str:
    return project.git(repo, "symbolic-ref", "HEAD").strip()


def clone(repo: Path, name: str = "mate") -> Path:
    """Clone the origin, as a teammate does."""
    project.git(repo.parent, "clone", "-q", "origin", name)
    return repo.parent / name


def digest(repo: Path, stage: str, path: str) -> str:
    """Look up the digest under which DVC keeps an output."""
    outs = project.load_yaml(repo / "dvc.lock")["stages"][stage]["outs"]
    return str(next(out["md5"] for out in outs if out["path"] == path))


class Server:
    """SeaweedFS on loopback, with a key that may write and one that may only read."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.home.mkdir()
        (home / "keys.json").write_text(json.dumps(IDENTITIES))
        self.ports = free_ports(2 * len(SERVICES))
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.ports[2 * SERVICES.index('s3')]}"

    def start(self) -> None:
        """Start it, over what it kept, and wait until it answers."""
        (self.home / "data").mkdir(exist_ok=True)
        ports = []
        for i, service in enumerate(SERVICES):
            ports += [f"-{service}.port={self.ports[2 * i]}"]
            ports += [f"-{service}.port.grpc={self.ports[2 * i + 1]}"]
        weed = shutil.which("weed")
        assert weed, "no weed on the path; run make test-sharing"
        with (self.home / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    weed,
                    "server",
                    f"-dir={self.home / 'data'}",
                    "-ip=127.0.0.1",
                    "-ip.bind=127.0.0.1",
                    "-s3",
                    "-s3.port.iceberg=0",
                    "-s3.port.lance=0",
                    "-s3.iam=false",
                    f"-s3.config={self.home / 'keys.json'}",
                    "-master.volumeSizeLimitMB=64",
                    "-volume.max=200",
                    *ports,
                ],
                stdout=log,
                stderr=log,
            )
        self._wait()

    def _wait(self) -> None:
        for _ in range(600):
            assert self.process
            assert self.process.poll() is None, (self.home / "log").read_text()[-2000:]
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", int(self.url.rpartition(":")[2]))) == 0:
                    return
            time.sleep(0.5)
        raise AssertionError((self.home / "log").read_text()[-2000:])

    def stop(self) -> None:
        """End it at once, and remove its sockets: over old ones its next start fails."""
        if self.process:
            self.process.kill()
            self.process.wait()
        for port in self.ports:
            for left in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):
                left.unlink()


def free_ports(count: int) -> list[int]:
    """Find ports that nobody listens on."""
    with ExitStack() as held:
        found = []
        for _ in range(count):
            one = held.enter_context(socket.socket())
            one.bind(("127.0.0.1", 0))
            found.append(int(one.getsockname()[1]))
    return found


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The server, for all tests."""
    one = Server(tmp_path_factory.mktemp("s3") / "home")
    yield one
    one.stop()
