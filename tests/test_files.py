"""Files: whole or not at all, never through an old link; manifests; trees of links."""

import hashlib
import os
from pathlib import Path

import pytest

from mutual_taught import files
from mutual_taught.errors import InputError, MissingFileError


@pytest.fixture
def model(here: Path) -> Path:
    """A folder with two files, one of them in a folder of its own."""
    folder = Path("model")
    (folder / "sub").mkdir(parents=True)
    (folder / "weights").write_bytes(b"abc")
    (folder / "sub" / "config").write_bytes(b"{}")
    return folder


def test_write_leaves_the_bytes_of_a_file_linked_elsewhere(here: Path) -> None:
    cached, out = Path("cached"), Path("out")
    cached.write_bytes(b"old")
    out.hardlink_to(cached)
    files.write_bytes(out, b"new")
    assert (cached.read_bytes(), out.read_bytes()) == (b"old", b"new")


def test_write_replaces_a_link_to_a_read_only_cache(here: Path) -> None:
    cached, out = Path("cached"), Path("out")
    cached.write_bytes(b"old")
    cached.chmod(0o444)
    out.symlink_to(cached)
    files.write_bytes(out, b"new")
    assert not out.is_symlink()
    assert (cached.read_bytes(), out.read_bytes()) == (b"old", b"new")


def test_written_file_can_be_read_by_others(here: Path) -> None:
    files.write_bytes(Path("deep/er/out"), b"x")
    assert Path("deep/er/out").stat().st_mode & 0o777 == 0o644


def test_failed_write_leaves_the_old_file_and_nothing_else(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("out").write_bytes(b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        files.write_bytes(Path("out"), b"new")
    assert [path.name for path in here.iterdir()] == ["out"]
    assert Path("out").read_bytes() == b"old"


def test_json_has_sorted_keys_and_ends_in_a_newline(here: Path) -> None:
    files.write_json(Path("x.json"), {"b": 1, "a": "é"})
    assert Path("x.json").read_text() == '{\n  "a": "é",\n  "b": 1\n}\n'


def test_json_without_a_number_is_refused(here: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.write_json(Path("x.json"), {"a": float("nan")})
    assert not Path("x.json").exists()


def test_metrics_hold_the_numbers_that_exist(here: Path) -> None:
    numbers = {"a": 1.0, "b": None, "c": float("nan"), "d": float("inf"), "e": 0.0}
    files.write_metrics(Path("m.json"), numbers)
    assert files.read_json(Path("m.json")) == {"a": 1.0, "e": 0.0}


def test_curve_has_its_columns_alone(here: Path) -> None:
    rows = [{"step": 1, "loss": 0.5, "other": 3}, {"step": 2, "loss": 0.25}]
    files.write_curve(Path("c.csv"), ("step", "loss"), rows)
    assert Path("c.csv").read_bytes() == b"step,loss\n1,0.5\n2,0.25\n"


def test_curve_without_steps_is_its_header(here: Path) -> None:
    files.write_curve(Path("c.csv"), ("step", "loss"), [])
    assert Path("c.csv").read_bytes() == b"step,loss\n"


def test_missing_json_is_one_line(here: Path) -> None:
    with pytest.raises(MissingFileError) as caught:
        files.read_json(Path("x.json"))
    assert str(caught.value) == "x.json does not exist; run dvc repro or dvc pull x.json"


def test_broken_json_is_one_line(here: Path) -> None:
    Path("x.json").write_text('{"a": ')
    with pytest.raises(InputError) as caught:
        files.read_json(Path("x.json"))
    assert str(caught.value) == (
        "x.json: not valid JSON (Expecting value: line 1 column 7 (char 6)); "
        "expected a file of this pipeline"
    )


def test_manifest_names_every_file_but_itself_with_its_hash(model: Path) -> None:
    written = files.write_manifest(model, "policy", "base", None, {"seed": 1})
    assert written.files == {
        "weights": hashlib.sha256(b"abc").hexdigest(),
        "sub/config": hashlib.sha256(b"{}").hexdigest(),
    }
    assert files.read_manifest(model) == written


def test_manifest_of_a_model_written_twice_has_the_same_bytes(model: Path) -> None:
    files.write_manifest(model, "policy", "base", None, {"b": 1, "a": 2})
    first = (model / "manifest.json").read_bytes()
    files.write_manifest(model, "policy", "base", None, {"a": 2, "b": 1})
    assert (model / "manifest.json").read_bytes() == first


def test_digest_of_a_model_is_of_its_files_alone(model: Path) -> None:
    one = files.write_manifest(model, "policy", "base", None, {}).digest
    assert files.write_manifest(model, "policy", "other", one, {"step": 2}).digest == one
    (model / "weights").write_bytes(b"abd")
    assert files.write_manifest(model, "policy", "base", None, {}).digest != one


def test_missing_model_is_one_line(here: Path) -> None:
    with pytest.raises(MissingFileError) as caught:
        files.read_manifest(Path("run/0/policy"))
    assert str(caught.value) == (
        "run/0/policy does not exist; run dvc repro or dvc pull run/0/policy"
    )


def test_model_without_a_manifest_is_one_line(model: Path) -> None:
    with pytest.raises(MissingFileError) as caught:
        files.read_manifest(model)
    assert str(caught.value) == (
        "model/manifest.json does not exist; run dvc repro or dvc pull model/manifest.json"
    )


@pytest.mark.parametrize("content", ['{"kind": "policy"}', "[]", "3", "null"])
def test_broken_manifest_is_one_line(model: Path, content: str) -> None:
    (model / "manifest.json").write_text(content)
    with pytest.raises(InputError, match=r"^model/manifest\.json: .*; expected .*base.*files"):
        files.read_manifest(model)


def test_linked_tree_shares_its_bytes(model: Path) -> None:
    files.link_tree(model, Path("run/1/policy"))
    for name in ("weights", "sub/config"):
        assert (Path("run/1/policy") / name).samefile(model / name)


def test_linked_tree_replaces_what_was_there(model: Path) -> None:
    Path("target").mkdir()
    Path("target/stale").write_bytes(b"x")
    files.link_tree(model, Path("target"))
    assert sorted(path.name for path in Path("target").iterdir()) == ["sub", "weights"]
    assert [path.name for path in Path().iterdir() if path.name.startswith(".")] == []


def test_tree_of_symbolic_links_is_linked_to_its_files(model: Path) -> None:
    Path("checked_out").mkdir()
    Path("checked_out/weights").symlink_to(Path("model/weights").resolve())
    files.link_tree(Path("checked_out"), Path("target"))
    assert not Path("target/weights").is_symlink()
    assert Path("target/weights").samefile("model/weights")


def test_tree_is_copied_where_the_disk_has_no_links(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    files.link_tree(model, Path("target"))
    assert Path("target/weights").read_bytes() == b"abc"
    assert not Path("target/weights").samefile(model / "weights")


def test_missing_tree_leaves_nothing_behind(here: Path) -> None:
    with pytest.raises(FileNotFoundError):
        files.link_tree(Path("nowhere"), Path("target"))
    assert list(here.iterdir()) == []
