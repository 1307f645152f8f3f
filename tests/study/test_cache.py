"""Finished stages: stored whole, restored as they were, the oldest removed."""

import os
from pathlib import Path

from study.cache import Cache, Entry, digest_of


def stored(cache: Cache, source: Path, key: str, text: str, used: int) -> Entry:
    """Store a file and a folder, last used at a time."""
    (source / "run").mkdir(parents=True, exist_ok=True)
    (source / "run" / "model").mkdir(exist_ok=True)
    for name in ("run/table", "run/model/weights"):
        (source / name).unlink(missing_ok=True)
        (source / name).write_text(text)
    outs = {out: digest_of(source / out) for out in ("run/table", "run/model")}
    entry = Entry("sample@1", outs, 2.5)
    cache.store(key, source, entry)
    os.utime(cache.folder / key / "entry.json", (used, used))
    return entry


def test_restored_outputs_replace_what_is_there(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    entry = stored(cache, tmp_path / "one", "a", "first", 1)
    (tmp_path / "two/run/model").mkdir(parents=True)
    (tmp_path / "two/run/model/old").write_text("old")
    assert cache.restore("a", tmp_path / "two") == entry
    assert [path.name for path in (tmp_path / "two/run/model").iterdir()] == ["weights"]
    assert (tmp_path / "two/run/table").read_text() == "first"


def test_what_is_not_stored_is_not_restored(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    assert cache.restore("a", tmp_path) is None
    stored(cache, tmp_path / "one", "a", "first", 1)
    (cache.folder / "a/outs/run/model/weights").unlink()
    (cache.folder / "a/outs/run/model").rmdir()
    assert cache.restore("a", tmp_path / "two") is None


def test_what_was_used_longest_ago_goes_first(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    for used, key in enumerate("abc", 1):
        stored(cache, tmp_path / "one", key, key * 1000, used)
    assert cache.restore("a", tmp_path / "two")  # now b is the oldest
    each = 2 * 1000 + (cache.folder / "a/entry.json").stat().st_size
    cache.shrink(2.5 * each)
    assert sorted(path.parent.name for path in cache.folder.glob("*/entry.json")) == ["a", "c"]


def test_digest_of_a_folder_follows_names_and_contents(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text("text")
    assert digest_of(tmp_path / "one") == digest_of(tmp_path / "two")
    (tmp_path / "two/file").rename(tmp_path / "two/other")
    assert digest_of(tmp_path / "one") != digest_of(tmp_path / "two")
