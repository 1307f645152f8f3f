"""What removal frees is counted as `du` counts it, and half a folder is never taken for a whole."""

import os
import random
import subprocess
from pathlib import Path

import pytest

from mutual_taught.keeping import disk


def du(folder: Path) -> int:
    done = subprocess.run(
        ["du", "-s", "--block-size=1", str(folder)], capture_output=True, text=True, check=True
    )
    return int(done.stdout.split()[0])


def write(path: Path, size: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(random.Random(size).randbytes(size))
    return path


def link(path: Path, to: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    os.link(to, path)


def test_what_is_freed_is_what_du_says_less(tmp_path: Path) -> None:
    home = tmp_path / "home"
    write(home / "going/alone", 50_000)
    link(home / "going/in/twice", write(home / "going/first", 70_000))  # both names go: once
    link(home / "going/kept", write(home / "cache/object", 90_000))  # one name stays: nothing
    (home / "going/symbolic").symlink_to(home / "cache/object")
    before, said = du(home), disk.freed([home / "going"])
    disk.remove(home / "going")
    assert said == before - du(home)
    assert said > 120_000
    assert said < 200_000


def test_a_file_of_two_folders_is_freed_only_when_both_go(tmp_path: Path) -> None:
    link(tmp_path / "b/name", write(tmp_path / "a/name", 80_000))
    a, b = tmp_path / "a", tmp_path / "b"
    apart = disk.freed([a]) + disk.freed([b])
    assert disk.freed([a, b]) - apart == (a / "name").stat().st_blocks * 512


def test_what_is_not_there_frees_nothing(tmp_path: Path) -> None:
    assert disk.freed([tmp_path / "none"]) == 0


def test_a_link_to_a_folder_goes_and_the_folder_stays(tmp_path: Path) -> None:
    kept = write(tmp_path / "mine/file", 10)
    (tmp_path / "link").symlink_to(tmp_path / "mine")
    disk.remove(tmp_path / "link")
    assert kept.exists()
    assert not (tmp_path / "link").is_symlink()


@pytest.mark.parametrize(
    ("size", "said"), [(0, "0 B"), (999, "999 B"), (1_000, "1.0 kB"), (2_250_000_000, "2.2 GB")]
)
def test_sizes_are_in_their_natural_unit(size: int, said: str) -> None:
    assert disk.spell(size) == said
