"""What `auto` came to is read off the artifacts; two formats in one run are said in a line."""

import shutil
from pathlib import Path

import pyarrow.parquet as pq
from click.testing import CliRunner

from mutual_taught.artifacts import tables
from mutual_taught.artifacts.files import read_json, write_json
from mutual_taught.cli import main
from mutual_taught.reading import formats, status
from tests import project


def test_a_run_of_one_machine_is_in_one_format(finished: Path) -> None:
    found = formats.find(finished)
    assert {kind: list(by) for kind, by in found.items()} == {
        "sampling": ["float32"],
        "reference log-probs": ["float32"],
        "training": ["float32"],
    }
    # 4 tables of answers and duels in 2 iterations, and the evaluations of 3
    assert len(found["sampling"]["float32"]) == 2 * 4 + 3
    assert list(formats.mixed(found)) == []


def test_mix_is_said_by_status_with_what_was_made_in_either(finished: Path, here: Path) -> None:
    run = Path(shutil.copytree(finished, "run"))
    shutil.copy(project.ROOT / "presets" / "tiny.yaml", "params.yaml")
    path = tables.RESPONSES.path(run / "2")
    rows = pq.read_table(path)
    path.unlink()
    pulled = {**tables.provenance(rows), "dtype": "bfloat16"}
    tables.write(run / "2", tables.RESPONSES, rows, pulled)
    [line] = status.setting(run).mixed_formats
    assert line.startswith(
        "sampling was computed in bfloat16 (run/2/responses.parquet) and in float32 "
        "(run/0/eval/generations.parquet and 9 more): auto came to both, on different machines; "
    )
    assert status.setting(run).sampling_dtype == "bfloat16 and float32"
    checked = CliRunner().invoke(main, ["verify"])
    assert f"note: {line}\n" in checked.output


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
