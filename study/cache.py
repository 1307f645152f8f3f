"""Finished stages by content: what one arm has computed, another with equal inputs takes."""

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from mutual_taught.artifacts import files

ENTRY = "entry.json"
HALF = ".half-"  # begins the name of an entry that is being written, or removed
STALE = 3600.0  # seconds after which nobody works at one any more


class Entry(NamedTuple):
    """What a stage made: the digest of every output, and the seconds it took."""

    stage: str
    outs: Mapping[str, str]
    seconds: float


class Cache:
    """A folder of entries, each under its key; their files are hard links where the disk has them.

    Attributes:
        folder: where.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @contextmanager
    def turn(self, key: str) -> Iterator[None]:
        """Let one process at a time work at a key: the next one then takes what the first made."""
        locks = self.folder / "locks"
        locks.mkdir(parents=True, exist_ok=True)
        with (locks / key).open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def restore(self, key: str, target: Path) -> Entry | None:
        """Put the outputs of a key into a folder.

        Returns:
            None if they are not here, or were removed meanwhile.
        """
        place = self.folder / key
        try:
            entry = Entry(**files.read_json(place / ENTRY))
            for out in entry.outs:
                remove(target / out)
                _link(place / "outs" / out, target / out)
            os.utime(place / ENTRY)  # used last
        except (FileNotFoundError, shutil.Error):  # the latter while a folder was linked
            return None
        return entry

    def store(self, key: str, source: Path, entry: Entry) -> None:
        """Keep the outputs of a stage, whole or not at all."""
        self.folder.mkdir(parents=True, exist_ok=True)
        half = Path(tempfile.mkdtemp(dir=self.folder, prefix=HALF))
        for out in entry.outs:
            _link(source / out, half / "outs" / out)
        files.write_json(half / ENTRY, entry._asdict())
        remove(self.folder / key)
        half.rename(self.folder / key)

    def shrink(self, most: float) -> None:
        """Remove what was used longest ago, until all is at most so many bytes.

        An entry is renamed before it is removed, so that nobody takes half of one.
        """
        self._forget_halves()
        used: dict[Path, float] = {}
        for path in self.folder.glob(f"*/{ENTRY}"):
            with suppress(FileNotFoundError):
                if not path.parent.name.startswith(HALF):
                    used[path.parent] = path.stat().st_mtime
        seen: set[tuple[int, int]] = set()
        total = 0
        for path in sorted(used, key=lambda path: -used[path]):
            total += _bytes(path, seen)
            if total > most:
                with suppress(FileNotFoundError):
                    gone = path.rename(path.with_name(HALF + path.name))
                    shutil.rmtree(gone, ignore_errors=True)

    def _forget_halves(self) -> None:
        """Remove what a killed process left of an entry that it wrote or removed."""
        for path in self.folder.glob(f"{HALF}*"):
            with suppress(FileNotFoundError):
                if time.time() - path.stat().st_mtime > STALE:
                    shutil.rmtree(path, ignore_errors=True)


def digest_of(place: Path, known: dict[tuple[int, int, int], str] | None = None) -> str:
    """Hash a file, or a folder's files by their names.

    Args:
        place: the file or folder.
        known: digests of files met before, by inode, size and time: a selected policy is links to
            a candidate's files. It is filled.
    """
    known = {} if known is None else known
    if place.is_file():
        return _sha256(place, known)
    listed = sorted(path for path in place.rglob("*") if path.is_file())
    return files.digest(
        {path.relative_to(place).as_posix(): _sha256(path, known) for path in listed}
    )


def _sha256(path: Path, known: dict[tuple[int, int, int], str]) -> str:
    stat = path.stat()
    name = (stat.st_ino, stat.st_size, stat.st_mtime_ns)
    if name not in known:
        known[name] = files.sha256(path)
    return known[name]


def remove(place: Path) -> None:
    """Remove a file or a folder, if it is there."""
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place)
    else:
        place.unlink(missing_ok=True)


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        files.link_tree(source, target)
        return
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise
    except OSError:  # another disk
        shutil.copyfile(source, target)


def _bytes(place: Path, seen: set[tuple[int, int]]) -> int:
    """Sum the sizes of files that were not counted before."""
    total = 0
    for path in place.rglob("*"):
        with suppress(FileNotFoundError):
            stat = path.stat()
            if path.is_file() and (stat.st_dev, stat.st_ino) not in seen:
                seen.add((stat.st_dev, stat.st_ino))
                total += stat.st_size
    return total
