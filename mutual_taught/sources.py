"""Prompts from the embedded templates, a file, or a hub data set; checked row by row."""

import csv
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from mutual_taught import gold, prompts
from mutual_taught.blocks import Columns, Data
from mutual_taught.errors import InputError, MissingFileError, first_line
from mutual_taught.keys import Message, prompt_id
from mutual_taught.splits import assign_splits
from mutual_taught.tables import PROMPTS
from mutual_taught.texts import find_control_token

POOL = 4096  # embedded prompts made, whatever the splits take of them
ROLES = ("system", "user", "assistant")


class Prompt(NamedTuple):
    """A conversation to be answered, and what can be verified of its answer."""

    prompt_id: str
    messages: list[Message]
    source: str
    instruction_ids: list[str]
    instruction_kwargs: list[str]
    chosen: str | None = None
    rejected: str | None = None


def read_prompts(data: Data, seed: int) -> list[Prompt]:
    """Read all prompts of the source.

    Raises:
        InputError: naming the file and row: not a conversation that ends in a user turn, a
            control token in the text, a prompt twice.
        MissingFileError: the file is not there.
    """
    readers = {"embedded": _embedded, "file": _file, "hub": _hub}
    found: dict[str, Prompt] = {}
    where: dict[str, str] = {}
    for place, prompt in readers[data.source](data, seed):
        if prompt.prompt_id in found:
            raise InputError(
                f"{place}: the same prompt as {where[prompt.prompt_id]}; "
                "expected distinct prompts; remove one"
            )
        found[prompt.prompt_id], where[prompt.prompt_id] = prompt, place
    if not found:
        raise InputError(f"{data.path}: holds no prompt; expected at least one for every split")
    return list(found.values())


def table(data: Data, seed: int) -> pa.Table:
    """Read the prompts and give each its split: rows of the table `prompts`."""
    read = read_prompts(data, seed)
    shares, sizes = split_plan(data)
    splits = assign_splits([prompt.prompt_id for prompt in read], shares, sizes, seed)
    split_of = {prompt: name for name, members in splits.items() for prompt in members}
    rows = [
        {**prompt._asdict(), "split": split_of[prompt.prompt_id]}
        for prompt in read
        if prompt.prompt_id in split_of
    ]
    return pa.Table.from_pylist(rows, PROMPTS.schema)


def split_plan(data: Data) -> tuple[dict[str, float], dict[str, int | None]]:
    """Name every split with its share of the prompts and its size."""
    parts = [f"policy_{part}" for part in range(1, data.policy_parts + 1)]
    splits = data.splits
    shares = dict.fromkeys(parts, splits.policy.share / data.policy_parts)
    sizes: dict[str, int | None] = dict.fromkeys(parts, splits.policy.prompts)
    for name in ("reward", "selection", "eval"):
        split = getattr(splits, name)
        shares[name], sizes[name] = split.share, split.prompts
    return shares, sizes


def _embedded(data: Data, seed: int) -> Iterator[tuple[str, Prompt]]:
    templates = prompts.read_templates(Path(data.path))
    _, sizes = split_plan(data)
    if None in sizes.values():
        raise InputError(
            "params.yaml: data.splits has prompts null; expected a number with source embedded"
        )
    for row in prompts.expand(templates, POOL, seed, "run"):
        messages: list[Message] = [{"role": "user", "content": row["prompt"]}]
        ids, kwargs = list(row["instruction_ids"]), list(row["instruction_kwargs"])
        place = f"{data.path}: {row['prompt']!r}"
        _check(messages, place)
        yield place, Prompt(prompt_id(messages), messages, "embedded", ids, kwargs)


def _file(data: Data, seed: int) -> Iterator[tuple[str, Prompt]]:
    path = Path(data.path)
    if path.parts[:1] != ("data",) or ".." in path.parts:
        raise InputError(
            f"params.yaml: data.path is {data.path!r}; expected a file under data/, "
            "the folder DVC watches; put or link it there"
        )
    readers = {".parquet": _parquet_rows, ".jsonl": _jsonl_rows, ".csv": _csv_rows}
    if path.suffix not in readers:
        raise InputError(f"{path}: ends in {path.suffix!r}; expected .parquet, .jsonl or .csv")
    if not path.is_file():
        raise MissingFileError(f"{path} does not exist; expected the prompts; see data.path")
    try:
        yield from _rows(readers[path.suffix](path), data.columns, path, path.name)
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: not UTF-8 (byte {error.start}); expected text in UTF-8; save it so"
        ) from None


def _hub(data: Data, seed: int) -> Iterator[tuple[str, Prompt]]:
    from datasets import load_dataset

    try:
        rows = load_dataset(
            data.path, split=data.subset, revision=data.revision, trust_remote_code=False
        )
    except Exception as error:  # the hub's clients raise many kinds, all of them the user's
        raise InputError(
            f"data set {data.path!r} at {data.revision}: {first_line(error)}; "
            f"expected it on the hub; check the id and the network"
        ) from None
    places = ((f"{data.path} row {number}", dict(row)) for number, row in enumerate(rows, 1))
    yield from _rows(places, data.columns, Path(data.path), data.path)


def _rows(
    rows: Iterator[tuple[str, dict[str, Any]]], columns: Columns, path: Path, source: str
) -> Iterator[tuple[str, Prompt]]:
    column = columns.messages or columns.prompt or ""
    for place, row in rows:
        if column not in row:
            raise InputError(
                f"{place}: lacks column {column!r}; it has {', '.join(map(str, row))}; "
                "set data.columns"
            )
        messages = _conversation(row[column], place, columns.messages is not None)
        _check(messages, place)
        ids = list(row.get("instruction_ids") or [])
        kwargs = list(row.get("instruction_kwargs") or [])
        try:
            gold.check_instructions(ids, kwargs)
        except InputError as error:
            raise InputError(f"{place}: {error}") from None
        chosen, rejected = _preference(row, columns, place)
        yield place, Prompt(prompt_id(messages), messages, source, ids, kwargs, chosen, rejected)


def _preference(row: dict[str, Any], columns: Columns, place: str) -> tuple[str | None, str | None]:
    """Read the answers that came with a prompt, if data.columns names them."""
    found: list[str | None] = []
    for column in (columns.chosen, columns.rejected):
        text = row.get(column) if column else None
        if column and (not isinstance(text, str) or not text.strip()):
            raise InputError(
                f"{place}: {column} is {str(text)[:40]!r}; expected the text of an answer"
            )
        if text and (token := find_control_token([{"role": "assistant", "content": text}])):
            raise InputError(
                f"{place}: {column} holds the control token {token!r}; expected plain text"
            )
        found.append(text)
    return found[0], found[1]


def _conversation(value: Any, place: str, is_messages: bool) -> list[Message]:
    if not is_messages:
        if not isinstance(value, str):
            raise InputError(f"{place}: prompt is {value!r}; expected text")
        return [{"role": "user", "content": value}]
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            raise InputError(f"{place}: messages is {value[:40]!r}; expected a list") from None
    if not isinstance(value, Sequence) or not all(isinstance(turn, dict) for turn in value):
        raise InputError(f"{place}: messages is {str(value)[:40]!r}; expected a list of turns")
    if value and value[-1].get("role") == "assistant":
        raise InputError(
            f"{place}: the conversation ends in an assistant turn; expected a user turn; cut it"
        )
    return [{"role": turn.get("role"), "content": turn.get("content")} for turn in value]


def _check(messages: Sequence[Message], place: str) -> None:
    for message in messages:
        if message["role"] not in ROLES or not isinstance(message["content"], str):
            raise InputError(
                f"{place}: a turn is {str(dict(message))[:60]}; expected a role of "
                f"{', '.join(ROLES)} and text as content"
            )
        if not message["content"].strip() and message["role"] != "system":
            raise InputError(f"{place}: a turn is blank; expected text; remove the row")
    if not messages or messages[-1]["role"] != "user":
        last = messages[-1]["role"] if messages else "nothing"
        raise InputError(f"{place}: the conversation ends in {last!r}; expected a user turn")
    if token := find_control_token(messages):
        raise InputError(
            f"{place}: holds the control token {token!r}; expected plain text; remove it"
        )


def _parquet_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        rows = pq.read_table(path).to_pylist()
    except pa.ArrowInvalid as error:
        raise InputError(f"{path}: not readable as Parquet ({error})") from None
    for number, row in enumerate(rows, 1):
        yield f"{path} row {number}", row


def _jsonl_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    with path.open(encoding="utf-8-sig", newline="\n") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                raise InputError(f"{path} row {number}: not JSON ({error})") from None
            if not isinstance(row, dict):
                raise InputError(f"{path} row {number}: {line[:40]!r}; expected a JSON object")
            yield f"{path} row {number}", row


def _csv_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        for number, row in enumerate(csv.DictReader(file), 2):
            yield f"{path} row {number}", row
