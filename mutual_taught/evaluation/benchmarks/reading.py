"""Items of a published file: each once, in the order of their ids, all of one data set."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from mutual_taught.errors import InputError
from mutual_taught.evaluation.benchmarks import files
from mutual_taught.evaluation.benchmarks.base import Item, Items, Metrics
from mutual_taught.evaluation.benchmarks.files import BadRowError, BenchmarkRow
from mutual_taught.terminal.signs import excerpt

RIGHT_WRONG = (1.0, 0.0)  # labels of a pair, the chosen response first


def read(paths: Sequence[Path], item: Callable[[BenchmarkRow], Item], expected: str) -> Items:
    """Read the items of some files; the order of their rows does not count.

    Args:
        paths: of the files.
        item: makes an item of a row, or raises `BadRowError`.
        expected: the format, for messages.

    Returns:
        Sorted by their ids.

    Raises:
        InputError: see `files.parsed`; or an id occurs twice: the line names both rows.
    """
    found = files.parsed(paths, lambda row: (row, item(row)), expected)
    require_once([(row, one.item_id) for row, one in found])
    return sorted((one for _, one in found), key=lambda one: one.item_id)


def require_once(named: Sequence[tuple[BenchmarkRow, str]]) -> None:
    """Refuse rows that are there twice: they would count twice.

    Args:
        named: rows with the id of each.

    Raises:
        InputError: naming the first few, each with the row it repeats.
    """
    first: dict[str, BenchmarkRow] = {}
    twice = [
        f"row {row.number} ({excerpt(name)}) is row {first[name].number} of {first[name].path}"
        for row, name in named
        if first.setdefault(name, row) is not row
    ]
    if twice:
        where = next(row.path for row, name in named if first[name] is not row)
        raise InputError(
            f"{where}: has rows twice: {files.some(twice)}; expected each once; remove the copies"
        )


def response(row: BenchmarkRow, name: str) -> str:
    """Take a column as a response: any text, because published responses may be blank.

    Raises:
        BadRowError: it is missing, or no text.
    """
    value = files.taken(row, name)
    if not isinstance(value, str):
        raise BadRowError(f"{name} is {excerpt(value)!r}; expected text")
    return value


def one_of(row: BenchmarkRow, name: str, known: Sequence[str]) -> str:
    """Take a column whose value is one of a list.

    Raises:
        BadRowError: it is another.
    """
    value = files.text(row, name)
    if value not in known:
        raise BadRowError(f"{name} is {excerpt(value)!r}; expected one of {', '.join(known)}")
    return value


def require_no_more(items: Items, published: Mapping[str, int], paths: Sequence[Path]) -> None:
    """Refuse more rows of a subset than were published: they are of another data set.

    Raises:
        InputError: naming the subsets.
    """
    there = Counter(item.subset for item in items)
    wrong = [
        f"{there[name]} of {name}, where {count} were published"
        for name, count in published.items()
        if there[name] > count
    ]
    if wrong:
        raise InputError(
            f"{', '.join(map(str, paths))}: has {'; '.join(wrong)}; expected the published rows; "
            "bring the published file, or read yours as pairs"
        )


def completeness(items: Items, published: Mapping[str, int]) -> Metrics:
    """Say whether all published rows are there: a part of them is another benchmark.

    Returns:
        `items`, `items_published`, and `complete`, 1 or 0.
    """
    whole = Counter(item.subset for item in items) == Counter(published)
    return {
        "items": float(len(items)),
        "items_published": float(sum(published.values())),
        "complete": float(whole),
    }
