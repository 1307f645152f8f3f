"""Faults of a run, and comparisons that name what differs."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from mutual_taught.artifacts import tables


class Fault(NamedTuple):
    """One thing that is not as it should be; `where` names a row, column or key."""

    path: Path
    where: str
    actual: str
    expected: str

    @property
    def agrees(self) -> bool:
        """Tell what shards made again tell of themselves; a fault is where one does not agree."""
        return False

    def __str__(self) -> str:
        """Say it in one line."""
        return f"{self.path}: {self.where} is {self.actual}; expected {self.expected}"


Faults = Iterator[Fault]


def compare(path: Path, table: tables.Table, actual: pa.Table, expected: pa.Table) -> Faults:
    """Compare two tables cell by cell; name the first cell of every column that differs."""
    if len(actual) != len(expected):
        yield Fault(path, "the number of rows", str(len(actual)), str(len(expected)))
        return
    for name in expected.column_names:
        if name not in table.kinds:
            continue
        if name not in actual.column_names:
            yield Fault(path, f"column {name}", "missing", "one that params.yaml asks for")
            continue
        kind = table.kinds[name]
        have = actual[name].cast(kind).combine_chunks()
        want = expected[name].cast(kind).combine_chunks()
        if have.equals(want):
            continue
        both = zip(have.to_pylist(), want.to_pylist(), strict=True)
        row = next((i for i, (a, b) in enumerate(both) if a != b), 0)
        yield Fault(
            path, f"{row_name(actual, table, row)} {name}", cell(have, row), cell(want, row)
        )


def row_name(data: pa.Table, table: tables.Table, row: int) -> str:
    """Name a row by its keys."""
    return "row " + ", ".join(f"{key} {data[key][row].as_py()}" for key in table.keys)


def cell(column: pa.Array, row: int) -> str:
    """Show a value, shortened."""
    return repr(column[row].as_py())[:80]


def first(
    path: Path, table: tables.Table, data: pa.Table, name: str, bad: Any, expected: str
) -> Faults:
    """Report the first row where `bad` (a mask) holds."""
    where = np.flatnonzero(np.asarray(bad))
    if len(where):
        row = int(where[0])
        yield Fault(
            path,
            f"{row_name(data, table, row)} {name}",
            cell(data[name].combine_chunks(), row),
            expected,
        )


def numbers(path: Path, actual: Mapping[str, Any], expected: Mapping[str, float | None]) -> Faults:
    """Compare metrics, name by name; what is no number is not to be there."""
    finite = {k: v for k, v in expected.items() if v is not None and np.isfinite(v)}
    for name, value in finite.items():
        if type(actual.get(name)) not in (int, float) or actual[name] != value:
            yield Fault(path, name, str(actual.get(name)), str(value))
    for name in sorted(set(actual) - set(finite)):
        yield Fault(path, name, str(actual[name]), "no such number")
