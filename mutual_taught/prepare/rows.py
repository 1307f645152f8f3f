"""The rows of a prompt file as their owner counts them; a row that cannot be read has a reason."""

import codecs
import csv
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from mutual_taught.errors import InputError, MissingFileError
from mutual_taught.terminal.signs import excerpt

LARGEST_CELL = 2**31 - 1  # characters; the csv module's own limit is 131,072
BATCH = 4096
WIDE = {
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}
PACKED = {
    b"\x1f\x8b": "gzip",
    b"PK\x03\x04": "a ZIP archive",
    b"PAR1\x15": "Parquet",
    b"\x28\xb5\x2f\xfd": "zstd",
}
SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}
NOT_UTF8 = re.compile("[\udc80-\udcff]")  # how Python carries bytes that are not UTF-8


class DataRow(NamedTuple):
    """One row: its number, its values; if it cannot be read no values, a reason and its text."""

    number: int
    values: Mapping[str, Any]
    reason: str = ""
    text: str = ""


def read(path: Path, needed: Sequence[str], other: Sequence[str]) -> Iterator[DataRow]:
    """Read a file row by row.

    Rows are counted as an editor or a spreadsheet counts them: lines of JSONL from 1, rows of CSV
    from 2, because 1 is the header, rows of Parquet from 1.

    Args:
        path: a `.parquet`, `.jsonl` or `.csv` file.
        needed: columns that must be there.
        other: columns that are read where they are there.

    Raises:
        MissingFileError: there is no such file.
        InputError: the file as a whole cannot be read: another format or encoding, no such column,
            damaged pages, a quote that swallows the lines after it.
    """
    readers: dict[str, Callable[[Path, Sequence[str], Sequence[str]], Iterator[DataRow]]] = {
        ".parquet": _parquet,
        ".jsonl": _jsonl,
        ".csv": _csv,
    }
    if path.suffix not in readers:
        advice = "; write one JSON object a line" if path.suffix == ".json" else ""
        raise InputError(
            f"{path}: ends in {path.suffix!r}; expected .parquet, .jsonl or .csv{advice}"
        )
    if not os.path.lexists(path):
        raise MissingFileError(f"{path} does not exist; expected the prompts; see data.path")
    if not path.is_file():
        raise InputError(f"{path}: a folder, or a link to nothing; expected a file of prompts")
    return readers[path.suffix](path, needed, other)


def keyed(rows: Iterator[DataRow], needed: Sequence[str], path: object) -> Iterator[DataRow]:
    """Give rows that have their columns each for itself; one that lacks some has a reason.

    Raises:
        InputError: no row has them, so that the name of the column is wrong.
    """
    lacking: InputError | None = None
    complete = False
    for row in rows:
        missing = [name for name in needed if not row.reason and name not in row.values]
        if missing:
            lacking = lacking or _lacks(path, missing[0], list(row.values))
            yield DataRow(row.number, {}, "missing_column", missing[0])
        else:
            complete = complete or not row.reason
            yield row
    if lacking and not complete:
        raise lacking


def _lacks(path: object, name: str, there: Sequence[object]) -> InputError:
    named = excerpt(", ".join(map(str, there)))
    return InputError(f"{path}: lacks column {name!r}; it has {named}; set data.columns")


def _require(path: Path, needed: Sequence[str], there: Sequence[str]) -> None:
    for name in needed:
        if (count := there.count(name)) == 0:
            raise _lacks(path, name, there)
        if count > 1:
            raise InputError(f"{path}: has column {name!r} {count} times; expected it once")


def _require_utf8(path: Path) -> None:
    with path.open("rb") as file:
        begin = file.read(5)
    for mark, name in WIDE.items():
        if begin.startswith(mark):
            raise InputError(f"{path}: is {name}; expected text in UTF-8; save it so")
    for mark, name in PACKED.items():
        if begin.startswith(mark):
            raise InputError(
                f"{path}: is {name}; expected text in UTF-8; unpack it, or name it by its kind"
            )
    if b"\0" in begin:
        raise InputError(f"{path}: begins with NUL bytes; expected text in UTF-8; save it so")


def _jsonl(path: Path, needed: Sequence[str], other: Sequence[str]) -> Iterator[DataRow]:
    _require_utf8(path)
    return keyed(_lines(path), needed, path)


def _lines(path: Path) -> Iterator[DataRow]:
    """Read lines that end in a line feed; other signs that separate lines may be in a text."""
    begun = False
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            content = line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
            if not content.strip():
                continue
            if not begun and content.lstrip().startswith(b"["):
                raise InputError(
                    f"{path}: begins with a JSON array; expected one JSON object a line"
                )
            begun = True
            yield _line(number, content)


def _line(number: int, content: bytes) -> DataRow:
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return DataRow(number, {}, "not_utf8", content.decode(errors="backslashreplace"))
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):  # the latter: nested too deeply
        return DataRow(number, {}, "not_json", text)
    return (
        DataRow(number, values)
        if isinstance(values, dict)
        else DataRow(number, {}, "not_object", text)
    )


def _csv(path: Path, needed: Sequence[str], other: Sequence[str]) -> Iterator[DataRow]:
    _require_utf8(path)
    csv.field_size_limit(LARGEST_CELL)
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        lines = csv.reader(file, strict=True)
        number = 1
        while (header := _record(path, lines, number)) and header.values.get("cells") == []:
            number += 1  # a blank line
        if header is None:
            return
        if header.reason:
            raise InputError(
                f"{path}: its header is not CSV; expected the names of the columns, with commas "
                "between them"
            )
        names = header.values["cells"]
        _require_commas(path, needed, names)
        _require(path, needed or names, names)  # all are read where none is asked for
        while row := _record(path, lines, number := number + 1):
            cells = row.values.get("cells", ["unread"])
            if row.reason:
                yield row
            elif cells and len(cells) != len(names):
                yield DataRow(number, {}, "wrong_cells", ",".join(cells))
            elif any(map(NOT_UTF8.search, cells)):
                yield DataRow(number, {}, "not_utf8", ",".join(cells))
            elif cells:  # a blank line has none
                yield DataRow(number, dict(zip(names, cells, strict=True)))


def _require_commas(path: Path, needed: Sequence[str], names: Sequence[str]) -> None:
    for sign, word in SEPARATORS.items():
        parts = [name.strip('"') for name in ",".join(names).split(sign)]
        if not set(needed) <= set(names) and set(needed) <= set(parts):
            raise InputError(f"{path}: has {word} between its cells; expected commas; save it so")


def _record(path: Path, lines: Any, number: int) -> DataRow | None:
    """Read one row of CSV.

    Raises:
        InputError: it is no CSV and went over several lines: an open quote may have swallowed
            rows that nobody could count.
    """
    begun = lines.line_num + 1
    try:
        return DataRow(number, {"cells": next(lines)})
    except StopIteration:
        return None
    except csv.Error as error:
        if lines.line_num > begun:
            raise InputError(
                f"{path} row {number} (lines {begun} to {lines.line_num}): a quote is open or "
                f"stray ({error}); expected it closed, and quotes inside a cell doubled"
            ) from None
        return DataRow(number, {}, "not_csv", str(error))


def _parquet(path: Path, needed: Sequence[str], other: Sequence[str]) -> Iterator[DataRow]:
    try:
        file = pq.ParquetFile(path, page_checksum_verification=True)
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path}: not readable as Parquet ({_reason(error)})") from None
    with file:
        there = file.schema_arrow.names
        wanted = [*dict.fromkeys(needed), *(name for name in other if name in there)]
        _require(path, wanted, there)
        begun = 1
        for group in range(file.num_row_groups):
            yield from _group(file, path, group, wanted, begun)
            begun += file.metadata.row_group(group).num_rows


def _group(
    file: pq.ParquetFile, path: Path, group: int, wanted: Sequence[str], begun: int
) -> Iterator[DataRow]:
    number = begun
    try:
        for batch in file.iter_batches(BATCH, [group], list(wanted)):
            columns = [_values(batch.column(name)) for name in wanted]
            for cells in zip(*columns, strict=True):
                broken = any(cell is BROKEN for cell in cells)
                values = {} if broken else dict(zip(wanted, cells, strict=True))
                yield DataRow(number, values, "not_utf8" if broken else "")
                number += 1
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:  # dates, say
        last = begun + file.metadata.row_group(group).num_rows - 1
        raise InputError(
            f"{path}: row group {group + 1} (rows {begun} to {last}) cannot be read "
            f"({_reason(error)}); expected a whole file; fetch it again"
        ) from None


BROKEN = object()


def _values(column: pa.Array) -> list[Any]:
    try:
        return list(column.to_pylist())
    except UnicodeDecodeError:  # Arrow does not look at what a file calls text
        return [_value(cell) for cell in column]


def _value(cell: pa.Scalar) -> Any:
    try:
        return cell.as_py()
    except UnicodeDecodeError:
        return BROKEN


def _reason(error: Exception) -> str:
    return excerpt(str(error)) or type(error).__name__
