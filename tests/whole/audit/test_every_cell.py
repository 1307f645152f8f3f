"""A value altered in any column of any table, signed anew everywhere, is found without a model."""

import json
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
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


def unfound(path: Path, stated: dict[str, Any], write_all: Callable[[Any], object]) -> list[str]:
    """Name what verify does not find altered in a file.

    All is altered at once, and each must have a fault of its own. What has none, because a reader
    refuses the file before, or because another check meets it, is altered alone.
    """
    write_all({name: another(value) for name, value in stated.items()})
    named = {
        re.split(r"[ .]", line.removeprefix(f"{path}: ").split(" is ")[0])[-1]
        for line in found()
        if line.startswith(f"{path}: ")
    }
    missed = []
    for name in stated.keys() - named:
        write_all({**stated, name: another(stated[name])})
        missed += [f"{path}: {name}"] if not found() else []
    return missed


def write_made_from(path: Path, table: tables.Table, data: pa.Table, values: Any) -> None:
    path.unlink()  # it may be a link into another test's run
    tables.write(path.parent, table, data, values, tables.is_active(data))


def write_stated(path: Path, values: Any) -> None:
    write(path, json.dumps(values))


def write_made_by(path: Path, stated: Any, values: Any) -> None:
    write(path, json.dumps({**stated, "made_by": values}))


def test_whatever_a_table_says_of_how_it_was_made_is_found_if_it_is_altered(run: Path) -> None:
    missed = []
    for path, table in listed(run):
        data, whole = pq.read_table(path), path.read_bytes()
        write_all = partial(write_made_from, path, table, data)
        missed += unfound(path, tables.provenance(data), write_all)
        path.unlink()
        path.write_bytes(whole)
    assert missed == []


def test_whatever_a_model_says_of_how_it_was_made_is_found_if_it_is_altered(run: Path) -> None:
    missed = []
    names = ("manifest.json", "steps.json", "decision.json")
    for path in [path for t in "01" for name in names for path in (run / t).rglob(name)]:
        text = path.read_text()
        stated = json.loads(text)
        missed += unfound(path, stated, partial(write_stated, path))
        missed += unfound(path, stated.get("made_by", {}), partial(write_made_by, path, stated))
        write(path, text)
    assert missed == []
