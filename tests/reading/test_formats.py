"""What `auto` came to is read off the artifacts; two formats in one run are said in a line."""

import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from mutual_taught.artifacts import tables
from mutual_taught.artifacts.files import read_json, write_json
from mutual_taught.cli import main
from mutual_taught.config import params
from mutual_taught.reading import formats, status
from tests import project
from tests.audit.test_verify_whole import copy


def test_a_run_of_one_machine_is_in_one_format(finished: Path) -> None:
    found = formats.find(finished)
    assert {kind: list(by) for kind, by in found.items()} == {
        "sampling": ["float32"],
        "reference log-probs": ["float32"],
        "training": ["float32"],
    }
    # 4 tables of responses and duels in 2 iterations, and the evaluations of 3
    assert len(found["sampling"]["float32"]) == 2 * 4 + 3
    assert list(formats.mixed(found)) == []


SOUND = "run: every decision and every digest is as it should be\n"


@pytest.fixture
def run(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run of another machine whose params leave the formats of sampling to it."""
    run = copy(finished, tmp_path, monkeypatch)
    project.set_param(Path("params.yaml"), "engine.dtype", "auto")
    params._parse.cache_clear()
    return run


def drawn_in_bfloat16(path: Path) -> None:
    """Let a table say that its responses were drawn in bfloat16, as on a machine that has it."""
    [table] = [one for one in (*formats.DRAWN, tables.GENERATIONS) if one.name == path.stem]
    rows = pq.read_table(path)
    path.unlink()  # it is a link into another test's run
    said = {**tables.provenance(rows), "dtype": "bfloat16"}
    tables.write(path.parent, table, rows, said, tables.is_active(rows))


def test_run_that_was_drawn_in_bfloat16_elsewhere_has_no_fault_and_no_note(run: Path) -> None:
    for path in formats.find(run)[formats.SAMPLING]["float32"]:
        drawn_in_bfloat16(path)
    assert list(formats.find(run)[formats.SAMPLING]) == ["bfloat16"]
    checked = CliRunner().invoke(main, ["verify"])
    assert (checked.exit_code, checked.output) == (0, SOUND)


def test_format_that_params_name_is_the_only_one(run: Path) -> None:
    project.set_param(Path("params.yaml"), "engine.dtype", "float32")
    drawn_in_bfloat16(tables.RESPONSES.path(run / "2"))
    checked = CliRunner().invoke(main, ["verify"])
    assert checked.exit_code == 1
    assert checked.output.startswith(
        "run/2/responses.parquet: provenance dtype is bfloat16; expected float32\n"
    )


def test_mix_is_said_by_status_and_verify_and_is_no_fault(run: Path) -> None:
    drawn_in_bfloat16(tables.RESPONSES.path(run / "2"))
    [line] = status.setting(run).mixed_formats
    assert line.startswith(
        "sampling was computed in bfloat16 (run/2/responses.parquet) and in float32 "
        "(run/0/eval/generations.parquet and 9 more): auto came to both, on different machines; "
    )
    assert status.setting(run).sampling_dtype == "bfloat16 and float32"
    checked = CliRunner().invoke(main, ["verify"])
    assert (checked.exit_code, checked.output) == (0, f"note: {line}\n{SOUND}")


def test_training_in_another_format_than_its_reference_is_said(finished: Path, here: Path) -> None:
    run = Path(shutil.copytree(finished, "run"))
    for path in run.rglob("manifest.json"):
        manifest = read_json(path)
        if "training" in manifest["made_by"]:
            manifest["made_by"]["training"]["precision"] = "bfloat16"
            path.unlink()
            write_json(path, manifest)
    [line] = formats.mixed(formats.find(run))
    assert line.startswith(
        "reference log-probs were computed in float32, training in bfloat16: DPO does not start "
    )
