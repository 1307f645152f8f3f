"""Rows of benchmark files, and their columns; every bad row of a file is named at once."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeGuard, TypeVar

from mutual_taught.errors import InputError
from mutual_taught.evaluation.benchmarks import formats
from mutual_taught.models.message import Message
from mutual_taught.terminal.signs import excerpt

LARGEST = 1e300
SHOWN = 8  # bad rows of a file that a line names
ROLES = ("system", "user", "assistant")
SPEAKERS = {"human": "user", "gpt": "assistant"}  # ShareGPT's words
T = TypeVar("T")


class BenchmarkRow(NamedTuple):
    """A row of a file, from 1: a line of JSONL, an entry of a JSON array, a row of Parquet."""

    path: Path
    number: int
    values: Mapping[str, Any]


class BadRowError(ValueError):
    """What is wrong with a row, such as `chosen is 3; expected text`."""


def parsed(paths: Sequence[Path], parse: Callable[[BenchmarkRow], T], expected: str) -> list[T]:
    """Read all rows of some files; one bad row refuses its file, with all the others it has.

    Args:
        paths: of the files, read in this order; a folder stands for all files in it.
        parse: makes what is wanted of a row, or raises `BadRowError`.
        expected: the benchmark's format, for messages.

    Raises:
        MissingFileError: a file is not there.
        InputError: a file cannot be read, has no row, or has bad rows.
    """
    found: list[T] = []
    for path in formats.files(paths, expected):
        bad: list[str] = []
        before = len(found)
        for number, values in formats.rows(path, expected):
            try:
                if isinstance(values, str):
                    raise BadRowError(values)
                found.append(parse(BenchmarkRow(path, number, values)))
            except BadRowError as error:
                bad.append(f"row {number}: {error}")
        if bad:
            raise InputError(
                f"{path}: {len(bad)} of {len(found) - before + len(bad)} rows cannot be used: "
                f"{some(bad)}; expected {expected}"
            )
        if len(found) == before:
            raise InputError(f"{path}: has no row; expected {expected}")
    return found


def some(wrong: Sequence[str]) -> str:
    """Name the first few things that are wrong, and how many more there are."""
    more = f"; and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
    return f"{'; '.join(wrong[:SHOWN])}{more}"


def require_distinct(names: Sequence[str], paths: Sequence[Path]) -> None:
    """Refuse items that occur twice: they would count twice.

    Raises:
        InputError: naming them.
    """
    seen: set[str] = set()
    twice = list(dict.fromkeys(name for name in names if name in seen or seen.add(name)))  # type: ignore[func-returns-value]
    if twice:
        listed = ", ".join(excerpt(name) for name in twice[:SHOWN])
        more = f" and {len(twice) - SHOWN} more" if len(twice) > SHOWN else ""
        alike = len({path.stem for path in paths}) < len(paths)
        raise InputError(
            f"{', '.join(map(str, paths))}: has {listed}{more} twice; expected every row once; "
            + ("give rows an id, or files names that differ" if alike else "remove the copies")
        )


def text(row: BenchmarkRow, name: str) -> str:
    """Take a column as text.

    Raises:
        BadRowError: it is missing, no text, or blank.
    """
    value = taken(row, name)
    if not isinstance(value, str) or not value.strip():
        raise BadRowError(f"{name} is {excerpt(value)!r}; expected text")
    return value


def texts(row: BenchmarkRow, name: str, least: int = 1) -> list[str]:
    """Take a column as a list of texts, of which there are at least so many; they may be blank."""
    value = taken(row, name)
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise BadRowError(f"{name} is {excerpt(value)!r}; expected a list of texts")
    if len(value) < least:
        raise BadRowError(f"{name} has {len(value)} texts; expected at least {least}")
    return value


def numbers(row: BenchmarkRow, name: str, count: int) -> list[float]:
    """Take a column as a list of so many numbers; true and false count as 1 and 0."""
    value = taken(row, name)
    listed = value if isinstance(value, list) else []
    if not isinstance(value, list) or not all(map(is_number, listed)):
        raise BadRowError(f"{name} is {excerpt(value)!r}; expected a list of numbers")
    if len(listed) != count:
        raise BadRowError(f"{name} has {len(listed)} numbers; expected {count}")
    return list(map(float, listed))


def is_number(value: object) -> TypeGuard[float]:
    """Tell whether a value is a number that can be reckoned with: neither NaN nor infinite."""
    return isinstance(value, int | float) and abs(value) < LARGEST  # not NaN either


def taken(row: BenchmarkRow, name: str) -> Any:
    """Take a column.

    Raises:
        BadRowError: it is missing.
    """
    if row.values.get(name) is None:
        raise BadRowError(f"lacks {name}; it has {excerpt(', '.join(map(str, row.values)))}")
    return row.values[name]


def name(row: BenchmarkRow) -> str:
    """Give what a row calls itself in `id`, or its file's name and its number."""
    own = row.values.get("id")
    if own is not None and not (isinstance(own, str | int) and str(own).strip()):
        raise BadRowError(f"id is {excerpt(own)!r}; expected text or a number")
    return f"{row.path.stem}:{row.number:06d}" if own is None else str(own)


def subset(row: BenchmarkRow) -> str:
    """Give a row's `subset`; none is the empty text."""
    return "" if row.values.get("subset") is None else text(row, "subset")


def prompt(row: BenchmarkRow, *names: str) -> list[Message]:
    """Take the first column that is there as a prompt: a text, or turns that end in the user's.

    Args:
        row: of the file.
        names: of columns, such as `messages`, `prompt`.
    """
    name = next((one for one in names if row.values.get(one) is not None), names[-1])
    value = taken(row, name)
    if isinstance(value, str):
        return [{"role": "user", "content": text(row, name)}]
    messages = turns(value, name)
    if messages[-1]["role"] != "user":
        raise BadRowError(f"{name} ends in a turn of {messages[-1]['role']}; expected the user's")
    return messages


def turns(value: object, name: str) -> list[Message]:
    """Read turns of {role, content} or {from, value}, at least one.

    Raises:
        BadRowError: they are none.
    """
    wrong = BadRowError(
        f"{name} is {excerpt(value)!r}; expected turns of role and content, or of from and value"
    )
    if not isinstance(value, list) or not value:
        raise wrong
    found: list[Message] = []
    for turn in value:
        if not isinstance(turn, dict):
            raise wrong
        role, content = (
            turn.get(a, turn.get(b)) for a, b in (("role", "from"), ("content", "value"))
        )
        role = SPEAKERS.get(str(role), role)
        if role not in ROLES or not isinstance(content, str):
            raise wrong
        found.append({"role": role, "content": content})
    return found


def response(row: BenchmarkRow, name: str, messages: Sequence[Message]) -> str:
    """Take a response: a text, or a conversation that is the prompt's and ends in the response.

    Raises:
        BadRowError: it is neither, or answers another conversation.
    """
    value = taken(row, name)
    if isinstance(value, str):
        return text(row, name)
    *before, last = turns(value, name)
    if last["role"] != "assistant" or not last["content"].strip():
        raise BadRowError(f"{name} ends in a turn of {last['role']}; expected the assistant's")
    if before and [dict(turn) for turn in before] != [dict(turn) for turn in messages]:
        raise BadRowError(f"{name} answers another conversation; expected the row's prompt")
    return last["content"]
