"""The formats of benchmark files: JSON, JSONL, packed or not, Parquet; folders of them."""

import codecs
import gzip
import json
import os
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mutual_taught.errors import InputError, MissingFileError, first_line
from mutual_taught.terminal.signs import excerpt

SUFFIXES = (".parquet", ".jsonl", ".jsonl.gz", ".json")


def files(paths: Sequence[Path], expected: str) -> Iterator[Path]:
    """Give the files that are named, and those within folders that are named, by their names."""
    for path in paths:
        if not path.is_dir():
            yield path
            continue
        found = within(path)
        if not found:
            raise InputError(
                f"{path}: has no file that ends in {', '.join(SUFFIXES)}; expected {expected}"
            )
        yield from found


def within(folder: Path) -> list[Path]:
    """List the files of a known format in a folder and in folders within it, by their names."""
    return sorted(
        path for path in folder.rglob("*") if path.name.endswith(SUFFIXES) and path.is_file()
    )


def rows(path: Path, expected: str) -> Iterator[tuple[int, Mapping[str, Any] | str]]:
    """Give the number of each row, and its values or why it has none."""
    suffix = next((one for one in SUFFIXES if path.name.endswith(one)), None)
    if suffix is None:
        raise InputError(
            f"{path}: ends in {path.suffix!r}; expected {expected} in a file that ends in "
            f"{', '.join(SUFFIXES)}"
        )
    if not os.path.lexists(path):
        raise MissingFileError(f"{path} does not exist; expected {expected}")
    if not path.is_file():
        raise InputError(f"{path}: a link to nothing; expected {expected}")
    readers = {".parquet": _parquet, ".jsonl": _jsonl, ".jsonl.gz": _packed, ".json": _json}
    return readers[suffix](path, expected)


def _jsonl(path: Path, expected: str) -> Iterator[tuple[int, Mapping[str, Any] | str]]:
    """Read lines that end in a line feed: other signs that separate lines may be in a text."""
    with path.open("rb") as file:
        yield from _lines(file)


def _packed(path: Path, expected: str) -> Iterator[tuple[int, Mapping[str, Any] | str]]:
    """Read packed lines; a file that ends too early or is no gzip is refused."""
    try:
        with gzip.open(path) as file:
            yield from _lines(file)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(
            f"{path}: not readable as gzip ({first_line(error)[:120]}); expected {expected}"
        ) from None


def _lines(file: Iterable[bytes]) -> Iterator[tuple[int, Mapping[str, Any] | str]]:
    for number, line in enumerate(file, 1):
        content = line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
        if content.strip():
            yield number, _object(content)


def _json(path: Path, expected: str) -> Iterator[tuple[int, Mapping[str, Any] | str]]:
    try:
        values = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{path}: not JSON as a whole ({first_line(error)}); expected {expected}; one object a "
            "line is called .jsonl"
        ) from None
    if not isinstance(values, list):
        raise InputError(f"{path}: holds a {type(values).__name__}; expected a list; {expected}")
    for number, value in enumerate(values, 1):
        yield number, _checked(value)


def _object(content: bytes) -> Mapping[str, Any] | str:
    try:
        value = json.loads(content)
    except UnicodeDecodeError:
        return "not UTF-8"
    except (ValueError, RecursionError):
        return f"{excerpt(content.decode(errors='backslashreplace'))!r} is no JSON"
    return _checked(value)


def _checked(value: object) -> Mapping[str, Any] | str:
    """Give an object as it is, or why it cannot be a row."""
    if not isinstance(value, dict):
        return f"{excerpt(value)!r} is no object"
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return "has half of a character, such as a cut emoji"
    return value


def _require_once(names: Sequence[str], path: Path) -> None:
    if twice := [name for place, name in enumerate(names) if name in names[:place]]:
        raise InputError(f"{path}: has column {twice[0]!r} twice; expected every column once")


def _parquet(path: Path, expected: str) -> Iterator[tuple[int, Mapping[str, Any] | str]]:
    number = 0
    try:
        with pq.ParquetFile(path) as file:
            _require_once(file.schema_arrow.names, path)
            for batch in file.iter_batches():
                for values in batch.to_pylist():
                    number += 1
                    yield number, values
    except InputError:
        raise
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
        # the last two: dates beyond Python's, names twice in a structure
        raise InputError(
            f"{path}: not readable as Parquet after row {number} ({first_line(error)[:120]}); "
            f"expected {expected}"
        ) from None
