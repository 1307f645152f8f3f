"""Rows of a judge's file, put in the order of the prompts they are about: by name, never by row."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from mutual_taught.errors import InputError
from mutual_taught.evaluation.benchmarks.files import some
from mutual_taught.terminal.signs import excerpt


class Named(NamedTuple):
    """What a row of a file is about: the number of the row, and the prompt's name in the file."""

    number: int
    name: str


def in_order(names: Sequence[str], rows: Sequence[Named], path: Path) -> list[int]:
    """Find the row of every prompt.

    Args:
        names: of the prompts, each once.
        rows: of the file, in any order.
        path: the file, for messages.

    Returns:
        For each prompt the place of its row in `rows`.

    Raises:
        InputError: a row is about no prompt, or about one that an earlier row is about; or a
            prompt has no row. All of them are named, in one line.
    """
    places: dict[str, int] = {}
    known, wrong = set(names), []
    for place, (number, name) in enumerate(rows):
        if name not in known:
            wrong.append(f"row {number}: {excerpt(name)!r} is none of the {len(names)} prompts")
        elif name in places:
            earlier = rows[places[name]].number
            wrong.append(f"row {number}: {excerpt(name)!r} again, after row {earlier}")
        else:
            places[name] = place
    wrong += [f"no row for {excerpt(name)!r}" for name in names if name not in places]
    if wrong:
        raise InputError(
            f"{path}: {some(wrong)}; expected one row for each of the "
            f"{len(names)} prompts; finish the judging, or name the prompts it was about"
        )
    return [places[name] for name in names]
