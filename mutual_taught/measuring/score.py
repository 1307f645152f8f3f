"""`mutual-taught score`: a reward model's rewards beside the rows of any file."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa

from mutual_taught.artifacts.schemas import NUMBER, TEXT
from mutual_taught.config.inputs import Columns
from mutual_taught.errors import InputError
from mutual_taught.measuring import checkpoints, rowfile
from mutual_taught.measuring.checkpoints import Checkpoint
from mutual_taught.measuring.rowfile import RESPONSES, Parsed, Read
from mutual_taught.measuring.settings import Terms
from mutual_taught.pipeline import work

if TYPE_CHECKING:
    from mutual_taught.measuring.rewards import Reward

PAIR = ("chosen", "rejected")
EXPECTED = (
    "chosen and rejected; or a prompt (prompt, instruction, messages, conversations) and an answer "
    "(response, completion, output, answer); or conversations that end in an answer"
)


class ScorePlan(NamedTuple):
    """What is scored: the file's rows as prompts with responses, and what these are called."""

    model: Checkpoint
    file: Read
    parsed: Sequence[Parsed]
    sides: Sequence[str]
    out: Path


class Count(NamedTuple):
    """How many rows a file has, how many rewards there are, and why rows have none."""

    rows: int
    rewards: int
    unread: str
    unscored: int


def plan(file: Path, model: Path, out: Path) -> ScorePlan:
    """Look at everything that can be wrong, without torch.

    Raises:
        InputError: the model is a policy; no column has responses, or rewards are there already; no
            row can be used; or there is something at `out`.
        MissingFileError: the file or the model is not there.
    """
    checkpoint = checkpoints.find(model)
    checkpoints.require(checkpoint, "reward_model", "scoring")
    read = rowfile.read(file)
    named, sides = _responses(read)
    rowfile.require_place(out, read.columns, [name for name, _ in added(sides)])
    parsed = [rowfile.parse(row, named) for row in read.rows]
    rowfile.require_some(parsed, file)
    return ScorePlan(checkpoint, read, parsed, sides, out)


def added(sides: Sequence[str]) -> list[tuple[str, pa.DataType]]:
    """Name the columns that scoring adds, with their types."""
    ends = [f"_{side}" for side in sides] if len(sides) > 1 else [""]
    return [
        (f"{name}{end}", kind)
        for name, kind in (("reward", NUMBER), ("reason", TEXT))
        for end in ends
    ]


def _responses(read: Read) -> tuple[Columns, Sequence[str]]:
    """Say where prompts and responses are, by the names of the columns."""
    there = read.columns
    if set(PAIR) <= set(there) and (named := rowfile.columns(there, "chosen")):
        return named, PAIR
    if (name := rowfile.first(there, RESPONSES)) and (named := rowfile.columns(there, name)):
        return named, (name,)
    if name := rowfile.first(there, rowfile.TURNS):
        named = Columns(messages=name, prompt=None, chosen=name, rejected=name)
        return named, (name,)
    raise InputError(f"{read.path}: has {', '.join(there)}; expected {EXPECTED}; rename columns")


def run(planned: ScorePlan, terms: Terms) -> Count:
    """Score the rows and write the file with rewards; an interrupted run goes on."""
    from mutual_taught.measuring import benchmark, limits, ready
    from mutual_taught.measuring.rewards import Conversation, score

    folder = ready.ready(planned.model, terms.drawing.tokens)
    terms = limits.within(folder, terms)
    prompts = [one.prompt for one in planned.parsed if one.prompt is not None]
    asked = [
        Conversation(one.messages, [one.chosen or "", one.rejected or ""][: len(planned.sides)])
        for one in prompts
    ]
    with benchmark.scoring(terms) as scorer:
        found = iter(score(scorer, folder, asked, terms.drawing.tokens, "score-file"))
    rewards = [None if one.prompt is None else next(found) for one in planned.parsed]
    rows = [
        {**row.values, **_cells(one, given, planned.sides)}
        for row, one, given in zip(planned.file.rows, planned.parsed, rewards, strict=True)
    ]
    rowfile.write(planned.out, rows, pa.schema(added(planned.sides)))
    work.finish()
    given_ones = [reward.value for one in rewards for reward in one or ()]
    missing = sum(value is None for value in given_ones)
    return Count(len(rows), len(given_ones) - missing, rowfile.counted(planned.parsed), missing)


def _cells(
    parsed: Parsed, rewards: "Sequence[Reward] | None", sides: Sequence[str]
) -> dict[str, Any]:
    """Give the cells that a row gains: rewards first, then reasons."""
    values = [None] * len(sides) if rewards is None else [one.value for one in rewards]
    why = [parsed.reason] * len(sides) if rewards is None else [one.reason for one in rewards]
    return dict(zip((name for name, _ in added(sides)), [*values, *why], strict=True))
