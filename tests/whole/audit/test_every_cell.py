"""A value altered in any column of any table, signed anew everywhere, is found without a model."""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from mutual_taught.artifacts import tables
from tests.audit.forged import CELLS, NEEDS_MODEL, forge, listed
from tests.audit.test_verify_whole import copy, found, write

pytestmark = pytest.mark.slow


@pytest.fixture
def run(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return copy(finished, tmp_path, monkeypatch)


@pytest.mark.parametrize(("name", "column"), CELLS)
def test_altered_value_is_found_unless_only_a_model_can_tell(
    run: Path, name: str, column: str
) -> None:
    forge(run, name, column, -1 if column in ("response_index", "step") else 0)
    assert (found() == []) == ((name, column) in NEEDS_MODEL)


def another(value: Any) -> Any:
    """Give a value of JSON of the same kind that is not the same."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    if isinstance(value, list):
        return [*value[:-1], another(value[-1])] if value else ["x"]
    if isinstance(value, dict):
        return {**value, (name := min(value)): another(value[name])}
    return f"{value}x"


def test_whatever_a_table_says_of_how_it_was_made_is_found_if_it_is_altered(run: Path) -> None:
    unfound = []
    for path, table in listed(run):
        data, whole = pq.read_table(path), path.read_bytes()
        said = tables.provenance(data)
        for name, value in said.items():
            path.unlink()  # it may be a link into another test's run
            told = {**said, name: another(value)}
            tables.write(path.parent, table, data, told, tables.is_active(data))
            unfound += [f"{path}: {name}"] if not found() else []
        path.unlink()
        path.write_bytes(whole)
    assert unfound == []


def test_whatever_a_model_says_of_how_it_was_made_is_found_if_it_is_altered(run: Path) -> None:
    unfound = []
    names = ("manifest.json", "steps.json", "decision.json")
    for path in [path for t in "01" for name in names for path in (run / t).rglob(name)]:
        text = path.read_text()
        said = json.loads(text)
        for name, value in said.items():
            write(path, json.dumps({**said, name: another(value)}))
            unfound += [f"{path}: {name}"] if not found() else []
        for name, value in said.get("made_by", {}).items():
            made_by = {**said["made_by"], name: another(value)}
            write(path, json.dumps({**said, "made_by": made_by}))
            unfound += [f"{path}: made_by {name}"] if not found() else []
        write(path, text)
    assert unfound == []
