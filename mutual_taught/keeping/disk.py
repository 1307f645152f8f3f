"""What files take on the disk, and what their removal gives back."""

import os
import shutil
import stat
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from mutual_taught.pipeline.work import GONE as GONE

BLOCK = 512  # bytes: the unit of st_blocks, whatever the file system's own is


def freed(paths: Iterable[Path]) -> int:
    """Count the bytes that removing files and folders gives back to the disk.

    A file with several names (hard links) is counted once, and only if all its names go: as long
    as DVC's cache or a run keeps one, nothing is freed. Links to elsewhere (symlinks) count as
    themselves.

    Args:
        paths: files, links and folders with all that is in them; none within another. What is not
            there counts nothing.

    Returns:
        Bytes of whole disk blocks, folders' own among them, as `du --block-size=1` counts.
    """
    names: Counter[tuple[int, int]] = Counter()
    files: dict[tuple[int, int], os.stat_result] = {}
    total = 0
    for found in _each(paths):
        if stat.S_ISDIR(found.st_mode):
            total += found.st_blocks * BLOCK
        else:
            names[found.st_dev, found.st_ino] += 1
            files[found.st_dev, found.st_ino] = found
    whole = (found for at, found in files.items() if names[at] == found.st_nlink)
    return total + sum(found.st_blocks for found in whole) * BLOCK


def newest(paths: Iterable[Path]) -> float:
    """Find when the newest of files was written, in seconds since 1970; 0 if there is none."""
    written = (found.st_mtime for found in _each(paths) if not stat.S_ISDIR(found.st_mode))
    return max(written, default=0.0)


def remove(path: Path) -> None:
    """Remove a file, a link, or a folder with all that is in it.

    A folder gets another name first, so that half of it is never taken for the whole.
    """
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
        return
    gone = path if path.name.startswith(GONE) else path.with_name(GONE + path.name)
    if gone != path:
        if gone.exists():
            shutil.rmtree(gone)  # of a removal that was killed
        path.rename(gone)
    shutil.rmtree(gone)


def spell(size: int) -> str:
    """Write a number of bytes in the largest unit that leaves something before the point."""
    value = float(size)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


def _each(paths: Iterable[Path]) -> Iterator[os.stat_result]:
    """Look at files, links and folders, and at all in the folders; links are not followed."""
    for path in paths:
        try:
            found = path.lstat()
        except FileNotFoundError:
            continue
        yield found
        if stat.S_ISDIR(found.st_mode):
            yield from _each(path.iterdir())
