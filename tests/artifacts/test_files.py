"""Files: whole or not at all, never through an old link; manifests; trees of links."""

import hashlib
import json
import os
from pathlib import Path

import pytest

from mutual_taught.artifacts import decision, files
from mutual_taught.artifacts.manifests import (
    read_manifest,
    read_steps,
    require_whole,
    write_manifest,
)
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


def test_json_nested_too_deeply_is_one_line(here: Path) -> None:
    Path("x.json").write_text("[" * 200_000 + "]" * 200_000)
    with pytest.raises(
        InputError, match=r"^x\.json: not valid JSON \(.*\); expected a file of this"
    ):
        files.read_json(Path("x.json"), list)


def test_manifest_names_every_file_but_itself_with_its_hash(model: Path) -> None:
    written = write_manifest(model, "policy", "base", None, {"seed": 1})
    assert written.files == {
        "weights": hashlib.sha256(b"abc").hexdigest(),
        "sub/config": hashlib.sha256(b"{}").hexdigest(),
    }
    assert read_manifest(model) == written


def test_manifest_of_a_model_written_twice_has_the_same_bytes(model: Path) -> None:
    write_manifest(model, "policy", "base", None, {"b": 1, "a": 2})
    first = (model / "manifest.json").read_bytes()
    write_manifest(model, "policy", "base", None, {"a": 2, "b": 1})
    assert (model / "manifest.json").read_bytes() == first


def test_digest_of_a_model_is_of_its_files_alone(model: Path) -> None:
    one = write_manifest(model, "policy", "base", None, {}).digest
    assert write_manifest(model, "policy", "other", one, {"step": 2}).digest == one
    (model / "weights").write_bytes(b"abd")
    assert write_manifest(model, "policy", "base", None, {}).digest != one


def test_missing_model_is_one_line(here: Path) -> None:
    with pytest.raises(MissingFileError) as caught:
        read_manifest(Path("run/0/policy"))
    assert str(caught.value) == (
        "run/0/policy does not exist; run dvc repro or dvc pull run/0/policy"
    )


def test_model_without_a_manifest_is_one_line(model: Path) -> None:
    with pytest.raises(MissingFileError) as caught:
        read_manifest(model)
    assert str(caught.value) == (
        "model/manifest.json does not exist; run dvc repro or dvc pull model/manifest.json"
    )


@pytest.mark.parametrize("content", ['{"kind": "policy"}', "[]", "3", "null"])
def test_broken_manifest_is_one_line(model: Path, content: str) -> None:
    (model / "manifest.json").write_text(content)
    with pytest.raises(InputError, match=r"^model/manifest\.json: .*; expected .*base.*files"):
        read_manifest(model)


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


def said_to_hold(folder: Path, name: object, digest: object = "0" * 64) -> None:
    """Write a manifest that lists one file."""
    values = {"kind": "policy", "base": "x", "parent": None, "made_by": {}, "files": {name: digest}}
    files.write_json(folder / "manifest.json", values)


LEADS_OUT = [
    "../secret",
    "sub/../../secret",
    "/etc/hostname",
    "..",
    ".",
    "",
    "sub//config",
    "sub/./config",
    "./weights",
    "sub/",
    "..\\secret",
    "C:\\secret",
    "weights\0",
    "weights\n",
    "\u202eweights",
    "\ud800",
    "x" * 300,
]


@pytest.mark.parametrize("name", LEADS_OUT, ids=ascii)
def test_manifest_that_names_a_file_elsewhere_is_refused(model: Path, name: str) -> None:
    Path("secret").write_text("x")
    (model / "manifest.json").write_text(
        json.dumps(
            {
                "kind": "policy",
                "base": "x",
                "parent": None,
                "made_by": {},
                "files": {name: files.sha256(Path("secret"))},
            }
        )
    )
    for read in (read_manifest, require_whole):
        with pytest.raises(InputError) as caught:
            read(model)
        assert str(caught.value) == (
            f"model/manifest.json: names the file {name[:80]!r}; expected names within the "
            "folder; run dvc checkout, or dvc pull model"
        )


@pytest.mark.parametrize("link", ["leak", "deep/leak"])
def test_link_out_of_a_model_is_refused(model: Path, link: str) -> None:
    Path("outside").mkdir()
    Path("outside/leak").write_text("x")
    if link == "leak":
        (model / "leak").symlink_to(Path("outside/leak").resolve())
    else:
        (model / "deep").symlink_to(Path("outside").resolve())
    said_to_hold(model, link, files.sha256(Path("outside/leak")))
    with pytest.raises(InputError, match=r"^model/.*leak: a link to .*; expected a file of the"):
        require_whole(model)


def test_link_that_leads_in_a_circle_is_refused_or_missing(model: Path) -> None:
    (model / "round").symlink_to("round")
    said_to_hold(model, "round")
    with pytest.raises(InputError, match="round: sha256 is missing"):
        require_whole(model)


def test_links_within_a_model_and_into_the_cache_of_dvc_are_followed(model: Path) -> None:
    cached = Path("cache/files/md5/ab") / ("0" * 30)
    cached.parent.mkdir(parents=True)
    cached.write_bytes(b"cached")
    (model / "big").symlink_to(cached.resolve())
    (model / "same").symlink_to("sub/config")
    written = write_manifest(model, "policy", "base", None, {})
    assert set(written.files) == {"big", "same", "sub/config", "weights"}
    assert require_whole(model) == written


def test_model_may_lie_behind_a_link(model: Path) -> None:
    write_manifest(model, "policy", "base", None, {})
    Path("linked").symlink_to(model.resolve())
    assert set(require_whole(Path("linked")).files) == {"weights", "sub/config"}


@pytest.mark.parametrize("digest", [None, 3, "", "x" * 64, "0" * 63, ["0" * 64]], ids=str)
def test_manifest_without_digests_is_refused(model: Path, digest: object) -> None:
    said_to_hold(model, "weights", digest)
    with pytest.raises(InputError, match=r"^model/manifest\.json: 'weights' has the sha256 "):
        read_manifest(model)


@pytest.mark.parametrize("steps", [[], [0], [2, 10, 300]])
def test_steps_are_those_of_the_file(here: Path, steps: list[int]) -> None:
    files.write_json(Path("checkpoints/steps.json"), {"steps": steps})
    assert read_steps(Path("checkpoints")) == steps


NO_STEPS = ["../../x", ["../../x"], [-1], [1.0], [True], [[1]], [None], None, {"1": 2}, 3, [4, 4]]


@pytest.mark.parametrize("steps", NO_STEPS, ids=str)
def test_steps_that_are_no_whole_numbers_are_refused(here: Path, steps: object) -> None:
    files.write_json(Path("checkpoints/steps.json"), {"steps": steps})
    with pytest.raises(InputError) as caught:
        read_steps(Path("checkpoints"))
    assert str(caught.value) == (
        f"checkpoints/steps.json: steps is {steps}; expected a list of whole numbers from 0, each "
        "once; run dvc repro"
    )


@pytest.mark.parametrize("origin", ["../../etc", "01", "-1", 0, None, "x", "9" * 5000], ids=str)
def test_decision_names_an_iteration_and_no_other_place(here: Path, origin: object) -> None:
    files.write_json(Path("decision.json"), {"active": True, "policy_from": origin})
    with pytest.raises(InputError, match=r"^decision\.json: holds .*expected active and policy_f"):
        decision.read(Path("decision.json"))
