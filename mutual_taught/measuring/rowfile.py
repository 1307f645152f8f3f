"""A file of the user's: its rows with all their columns, and the same rows with more of them."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from mutual_taught.artifacts.files import write_bytes
from mutual_taught.config.inputs import Columns
from mutual_taught.errors import InputError, MissingFileError, first_line
from mutual_taught.measuring.evaluate import require_free
from mutual_taught.prepare import conversations, rows
from mutual_taught.prepare.conversations import BadRowError, Prompt
from mutual_taught.prepare.rows import DataRow

WRITTEN = (".parquet", ".jsonl", ".csv")
TURNS = ("messages", "conversations", "conversation")  # columns of conversations, in this order
TEXTS = ("prompt", "instruction")  # of single prompts; turns are read there, too
RESPONSES = ("response", "completion", "output", "answer")
Values = Mapping[str, Any]


class Read(NamedTuple):
    """A file's rows in their order, and the columns it has."""

    path: Path
    rows: Sequence[DataRow]
    columns: Sequence[str]


class Parsed(NamedTuple):
    """A row as a prompt, or why it is none: a word of `conversations.REASONS`."""

    prompt: Prompt | None
    reason: str


def read(path: Path) -> Read:
    """Read every row with all its columns.

    Raises:
        MissingFileError: there is no such file.
        InputError: it is in another format, or has no row that can be read.
    """
    if not path.exists():
        raise MissingFileError(
            f"{path} does not exist; expected a file of prompts or conversations"
        )
    listed = list(rows.read(path, [], _columns_of(path)))
    columns = list(dict.fromkeys(name for row in listed for name in row.values))
    if not columns:
        why = f" ({counted(listed)})" if listed else ""
        raise InputError(
            f"{path}: has no row that can be read{why}; expected rows with a prompt each"
        )
    return Read(path, listed, columns)


def _columns_of(path: Path) -> list[str]:
    """Name the columns of a Parquet file; other formats give all of theirs unasked."""
    if path.suffix != ".parquet" or not path.is_file():
        return []
    try:
        return list(pq.read_schema(path).names)
    except (pa.ArrowException, OSError):  # said in one line when it is read
        return []


def first(there: Sequence[str], names: Sequence[str]) -> str | None:
    """Give the first of some columns that is there."""
    return next((name for name in names if name in there), None)


def columns(there: Sequence[str], chosen: str | None = None) -> Columns | None:
    """Say which column has the prompt, and which a response; None where none has a prompt.

    Args:
        there: the file's columns.
        chosen: the column of responses, which may hold the prompt, too.
    """
    rejected = "rejected" if chosen == "chosen" else chosen
    if name := first(there, TURNS):
        return Columns(messages=name, prompt=None, chosen=chosen, rejected=rejected)
    if name := first(there, TEXTS):
        return Columns(messages=None, prompt=name, chosen=chosen, rejected=rejected)
    if chosen == "chosen":  # conversations whose last turns are the responses
        return Columns(messages=chosen, prompt=None, chosen=chosen, rejected=rejected)
    return None


def prompts_of(read: Read) -> Columns:
    """Say which column has the prompts.

    Raises:
        InputError: none has.
    """
    if (named := columns(read.columns)) is None:
        raise InputError(
            f"{read.path}: has {', '.join(read.columns)}; expected a column of prompts: "
            f"{', '.join((*TEXTS, *TURNS))}; rename one"
        )
    return named


def parse(row: DataRow, named: Columns) -> Parsed:
    """Read a row as a prompt with its responses."""
    if row.reason:
        return Parsed(None, row.reason)
    if any(name not in row.values for name in conversations.needed(named)):
        return Parsed(None, "missing_column")
    try:
        return Parsed(conversations.read_prompt(row.values, _turned(row, named), "file"), "")
    except BadRowError as bad:
        return Parsed(None, bad.reason)


def _turned(row: DataRow, named: Columns) -> Columns:
    """Take a column of prompts as turns in a row that has turns there."""
    if named.prompt is None or isinstance(row.values[named.prompt], str):
        return named
    return named.model_copy(update={"messages": named.prompt, "prompt": None})


def require_some(parsed: Sequence[Parsed], path: Path) -> None:
    """Refuse a file of which no row can be used.

    Raises:
        InputError: with the commonest reasons.
    """
    if all(one.prompt is None for one in parsed):
        raise InputError(
            f"{path}: none of {len(parsed)} rows can be used ({counted(parsed)}); expected at "
            "least one"
        )


def counted(parsed: Sequence[Parsed | DataRow]) -> str:
    """Name why rows cannot be used, each reason with its count."""
    reasons = [one.reason for one in parsed if one.reason]
    return ", ".join(
        f"{reasons.count(reason)} {reason} ({conversations.REASONS[reason]})"
        for reason in dict.fromkeys(reasons)
    )


def require_place(out: Path, there: Sequence[str], added: Sequence[str]) -> None:
    """Refuse a place that is taken, a format that cannot be written, columns that are there.

    Raises:
        InputError: one of these.
    """
    if out.suffix not in WRITTEN:
        raise InputError(
            f"{out}: ends in {out.suffix!r}; expected a name that ends in {', '.join(WRITTEN)}"
        )
    require_free(out)
    if taken := [name for name in added if name in there]:
        raise InputError(
            f"the file has a column {taken[0]!r} already; expected none of {', '.join(added)}; "
            "rename it"
        )


def write(out: Path, listed: Sequence[Values], schema: pa.Schema) -> None:
    """Write rows whole or not at all, in the format that the name says.

    Args:
        out: where to.
        listed: rows; of those without a column its cell is empty.
        schema: Arrow types of the columns that were added; the others have their own.

    Raises:
        InputError: a column holds values of several kinds, which Parquet cannot.
    """
    names = list(dict.fromkeys(name for row in listed for name in row))
    if out.suffix == ".jsonl":
        write_bytes(out, b"".join(map(_json, listed)))
    elif out.suffix == ".csv":
        write_bytes(out, _csv(listed, names).encode(errors="backslashreplace"))
    else:
        write_bytes(out, _parquet(listed, names, schema, out))


def _json(row: Values) -> bytes:
    """Write a row as a line of JSON; half of a character, which UTF-8 has not, as its number."""
    text = json.dumps(row, ensure_ascii=False, default=str) + "\n"
    try:
        return text.encode()
    except UnicodeEncodeError:
        return (json.dumps(row, default=str) + "\n").encode()


def _csv(listed: Sequence[Values], names: Sequence[str]) -> str:
    """Lay rows out as CSV; lists and turns are JSON in their cells."""
    sink = io.StringIO()
    writer = csv.writer(sink, lineterminator="\n")
    writer.writerow(names)
    for row in listed:
        writer.writerow([_cell(row.get(name)) for name in names])
    return sink.getvalue()


def _cell(value: object) -> object:
    if isinstance(value, list | dict | bool):
        return json.dumps(value, ensure_ascii=False, default=str)
    return value


def _parquet(listed: Sequence[Values], names: Sequence[str], schema: pa.Schema, out: Path) -> bytes:
    columns = {}
    for name in names:
        values = [row.get(name) for row in listed]
        try:
            kind = schema.field(name).type if name in schema.names else None
            columns[name] = pa.array(values, kind)
        except (pa.ArrowException, UnicodeEncodeError) as error:
            raise InputError(
                f"{out}: column {name!r} cannot be written as Parquet ({first_line(error)[:120]}); "
                "expected values of one kind; name a file that ends in .jsonl"
            ) from None
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer, compression="zstd")
    return buffer.getvalue()
