"""Files of responses that are compared: each by its prompt and index, never by position."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from mutual_taught.artifacts import tables
from mutual_taught.artifacts.files import digest, read_json
from mutual_taught.errors import InputError, MissingFileError
from mutual_taught.evaluation.judges.verdict_tables import Comparison
from mutual_taught.measuring import rowfile
from mutual_taught.measuring.rowfile import Read
from mutual_taught.prepare.conversations import REASONS, Prompt
from mutual_taught.prepare.rows import DataRow
from mutual_taught.terminal.signs import excerpt

ID, INDEX = "prompt_id", "response_index"
LARGEST_INDEX = 2**31
HALF = re.compile("[\ud800-\udfff]")  # of a character: no server and no table takes it
Key = tuple[str, int]


class ResponseRow(NamedTuple):
    """A text, and the number of the row it stands in."""

    text: str
    row: int


class ResponseFile(NamedTuple):
    """A file's responses by prompt and index, and the prompts that it has beside them."""

    path: Path
    texts: Mapping[Key, ResponseRow]
    prompts: Mapping[str, Prompt]


def read(place: Path) -> ResponseFile:
    """Read a file of responses, or those of an iteration's folder such as `run/2`.

    A row has a response (`response`, `completion`, `output` or `answer`), and a prompt or its
    `prompt_id`. `response_index` tells several responses to a prompt apart.

    Raises:
        MissingFileError: it is not there.
        InputError: it is a model, has other columns, or a row is no response or occurs twice.
    """
    file = _rows(_file(place))
    column = rowfile.first(file.columns, rowfile.RESPONSES)
    if column is None or (ID not in file.columns and rowfile.columns(file.columns) is None):
        raise InputError(
            f"{file.path}: has {', '.join(file.columns)}; expected an answer "
            f"({', '.join(rowfile.RESPONSES)}) and a prompt (prompt_id, prompt, instruction, "
            "messages); rename columns"
        )
    texts: dict[Key, ResponseRow] = {}
    prompts: dict[str, Prompt] = {}
    for row, name, prompt in _prompts(file):
        if not isinstance(text := row.values.get(column), str):
            raise _bad(file, row, f"has no text in {column!r}", "an answer")
        if HALF.search(text):
            raise _bad(file, row, f"has {REASONS['lone_surrogate']}", "whole characters")
        index = _index(row.values.get(INDEX, 0))
        if index is None:
            said = f"has {INDEX} {excerpt(row.values[INDEX])}"
            raise _bad(file, row, said, "a number from 0")
        if (earlier := texts.get((name, index))) is not None:
            said = f"answers the prompt of row {earlier.row} again"
            raise _bad(file, row, said, f"each prompt once, or a {INDEX}")
        texts[name, index] = ResponseRow(text, row.number)
        if prompt is not None:
            prompts[name] = prompt
    return ResponseFile(file.path, texts, prompts)


def _index(value: object) -> int | None:
    """Take a response's index; CSV has it as digits."""
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = int(value[:20])
    return value if type(value) is int and 0 <= value < LARGEST_INDEX else None


def prompts_of(place: Path) -> dict[str, Prompt]:
    """Read the prompts of a file by their ids.

    Raises:
        MissingFileError: it is not there.
        InputError: a row is no prompt.
    """
    file = _rows(place)
    rowfile.prompts_of(file)
    return {name: prompt for _, name, prompt in _prompts(file) if prompt is not None}


def _file(place: Path) -> Path:
    """Find the responses in an iteration's folder."""
    if not place.is_dir():
        return place
    if (inside := tables.GENERATIONS.path(place / "eval")).exists():
        return inside
    if (place / "config.json").exists():
        raise InputError(
            f"{place}: a model; expected a file of answers; draw them first: mutual-taught sample "
            f"PROMPTS --policy {place} --out answers.jsonl"
        )
    raise MissingFileError(
        f"{place}: holds no eval/generations.parquet; expected a file of answers, or an "
        "iteration's folder such as run/2"
    )


def _rows(path: Path) -> Read:
    """Read a file's rows; a list in JSON is read, too, as AlpacaEval writes it."""
    if path.suffix != ".json":
        return rowfile.read(path)
    if not path.exists():
        raise MissingFileError(f"{path} does not exist; expected a file of answers")
    listed = read_json(path, list)
    if not listed or not all(isinstance(row, dict) for row in listed):
        raise InputError(f"{path}: no list of objects; expected a prompt and an answer in each")
    rows = [DataRow(number, values) for number, values in enumerate(listed, 1)]
    return Read(path, rows, list(dict.fromkeys(name for row in rows for name in row.values)))


def _prompts(file: Read) -> Iterator[tuple[DataRow, str, Prompt | None]]:
    """Give each row with its prompt's id, and its prompt if it has one."""
    named = rowfile.columns(file.columns)
    for row in file.rows:
        name, prompt = row.values.get(ID), None
        if row.reason:
            raise _bad(file, row, REASONS[row.reason], "a row that can be read")
        if named is not None:
            prompt, reason = rowfile.parse(row, named)
            if reason and not isinstance(name, str):
                raise _bad(file, row, REASONS[reason], "a prompt")
        if not isinstance(name, str):
            assert prompt is not None or named is None
            if prompt is None:
                raise _bad(file, row, f"has {ID} {excerpt(name)}", "the id of a prompt")
            name = prompt.prompt_id
        yield row, name, prompt


def _bad(file: Read, row: DataRow, said: str, expected: str) -> InputError:
    return InputError(f"{file.path}: row {row.number}: {said}; expected {expected}; mend it")


def comparisons(
    own: ResponseFile,
    other: ResponseFile,
    prompts: Mapping[str, Prompt],
    source: object,
    against: str,
) -> list[Comparison]:
    """Put two files' responses to the same prompts beside each other, in the order of their ids.

    Args:
        own: whose win rate it is.
        other: the other's.
        prompts: all that both answer, by id.
        source: where they are from, for messages.
        against: the other's name.

    Raises:
        InputError: a file answers other prompts, or not all of these.
    """
    for file, beside in ((own, other), (other, own)):
        _require(file, beside, prompts, source)
    return [
        Comparison(
            against, *key, prompts[key[0]].messages, own.texts[key].text, other.texts[key].text
        )
        for key in sorted(own.texts)
    ]


def _require(
    file: ResponseFile, beside: ResponseFile, prompts: Mapping[str, Prompt], source: object
) -> None:
    for (name, index), response in file.texts.items():
        if name not in prompts:
            raise InputError(
                f"{file.path}: row {response.row} answers a prompt that {source} does not have "
                f"({_shown(file.prompts[name]) if name in file.prompts else excerpt(name)}); "
                "expected answers to its prompts; bring those of one data set"
            )
        if (name, index) not in beside.texts:
            raise InputError(
                f"{beside.path}: has no answer {index} to the prompt of row {response.row} of "
                f"{file.path} ({_shown(prompts[name])}); expected the same prompts in both; add it"
            )
    if lacking := [name for name in prompts if (name, 0) not in file.texts]:
        raise InputError(
            f"{file.path}: answers {len(prompts) - len(lacking)} of {len(prompts)} prompts of "
            f"{source}, not {_shown(prompts[lacking[0]])!r}; expected all of them; add the others"
        )


def _shown(prompt: Prompt) -> str:
    return excerpt(prompt.messages[-1]["content"])


def digest_of(responses: ResponseFile) -> str:
    """Hash a file's responses by their keys, whatever their order and format."""
    return digest([[*key, responses.texts[key].text] for key in sorted(responses.texts)])
