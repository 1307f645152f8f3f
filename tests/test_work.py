"""Work in progress: one process, exactly these inputs, one place."""

import subprocess
import sys
from pathlib import Path

import pytest

from mutual_taught import work
from mutual_taught.errors import InputError
from mutual_taught.files import read_json

INPUTS = {"policy": "abc", "seed": 1}
SECOND = """
from mutual_taught import work
from mutual_taught.errors import InputError
work.PATIENCE = ()
try:
    with work.folder("sample@1", {"policy": "abc", "seed": 1}):
        print("entered")
except InputError as error:
    print(error)
"""


def second_process() -> str:
    done = subprocess.run(
        [sys.executable, "-c", SECOND], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_second_process_is_refused_in_one_line(here: Path) -> None:
    with work.folder("sample@1", INPUTS):
        assert second_process() == (
            ".work/sample@1: another run of sample@1 works there; wait for it, or stop it"
        )


def test_second_process_enters_when_the_first_has_left(here: Path) -> None:
    with pytest.raises(RuntimeError), work.folder("sample@1", INPUTS):
        raise RuntimeError("killed")
    assert second_process() == "entered"


def test_refused_run_leaves_the_parts_of_the_one_at_work(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work, "PATIENCE", ())
    with work.folder("sample@1", INPUTS) as place:
        (place / "part").touch()
        with pytest.raises(InputError), work.folder("sample@1", {"policy": "other"}):
            pass
        assert (place / "part").exists()


def test_second_process_waits_a_moment_for_one_that_is_about_to_end(here: Path) -> None:
    with work.folder("sample@1", INPUTS):
        waiting = subprocess.Popen(
            [sys.executable, "-c", SECOND.replace("()", "(0.1,) * 100")],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        with pytest.raises(subprocess.TimeoutExpired):
            waiting.wait(timeout=1.0)
    assert waiting.communicate()[0].strip() == "entered"


def test_finished_parts_are_found_again_with_the_same_inputs(here: Path) -> None:
    with work.folder("sample@1", INPUTS) as place:
        (place / "part").write_text("done")
    with work.folder("sample@1", dict(reversed(INPUTS.items()))) as again:
        assert (again / "part").read_text() == "done"


def test_parts_of_other_inputs_are_removed(here: Path) -> None:
    with work.folder("sample@1", INPUTS) as old:
        (old / "part").touch()
    with work.folder("sample@1", {**INPUTS, "seed": 2}) as new:
        assert not old.exists()
        assert [path.name for path in new.iterdir()] == ["fingerprint.json"]


def test_parts_of_other_stages_stay(here: Path) -> None:
    with work.folder("sample@1", INPUTS) as first:
        pass
    with work.folder("sample@2", INPUTS):
        assert first.exists()


def test_fingerprint_is_written_beside_the_parts(here: Path) -> None:
    with work.folder("sample@1", INPUTS) as place:
        assert read_json(place / "fingerprint.json") == {
            **INPUTS, "code": work.code(), "versions": work.versions(),
        }  # fmt: skip


def test_parts_of_other_code_or_versions_are_removed(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("code", "other"), ("versions", {"torch": "0"})):
        with work.folder("sample@1", INPUTS) as place:
            (place / "part").touch()
        with monkeypatch.context() as patch:
            patch.setattr(work, name, lambda value=value: value)
            with work.folder("sample@1", INPUTS) as other:
                assert other != place
        assert not place.exists()


def test_work_is_in_the_current_folder_without_dvc(here: Path) -> None:
    assert work.root() == Path(".work")


def test_work_is_in_the_repository_that_dvc_names(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DVC_ROOT", str(here / "repo"))
    with work.folder("sample@1", INPUTS) as place:
        assert place.parent == here / "repo" / ".work" / "sample@1"
