"""Benchmark `hh-rlhf`: people's preferences between two ends of a conversation.

Source: Bai et al., 2022 (arXiv 2204.05862), and its data, Anthropic/hh-rlhf.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from mutual_taught.errors import InputError
from mutual_taught.evaluation.benchmarks import composites, files, reading
from mutual_taught.evaluation.benchmarks.base import (
    Hub,
    Item,
    Items,
    Metrics,
    Scores,
    groups_of,
)
from mutual_taught.evaluation.benchmarks.files import BadRowError, BenchmarkRow
from mutual_taught.evaluation.benchmarks.pairs import share_table, shares
from mutual_taught.evaluation.benchmarks.resampling import Mean
from mutual_taught.models.message import Message
from mutual_taught.terminal.signs import excerpt

HUB = Hub("Anthropic/hh-rlhf", ("*/test.jsonl.gz",), "09be8c5bbc57cb3887f3a9732ad6aa7ec602a1fa")
EXPECTED = (
    "hh-rlhf's lines of chosen and rejected, each a conversation of Human: and Assistant: "
    "(helpful-base/test.jsonl.gz and so on)"
)
records = share_table
SPEAKERS = {"Human": "user", "Assistant": "assistant"}
TURN = re.compile(r"\n\n(Human|Assistant):")


def read(paths: Sequence[Path]) -> Items:
    """Read the published lines; a line's subset is the name of its file's folder.

    A line whose two conversations part before the last response has no common prompt. It gives no
    item; `note` says how many those were.

    Raises:
        InputError: see `files.parsed`; or a line is there twice, or no line has a common prompt.
    """
    found = files.parsed(paths, lambda row: (row, _item(row)), EXPECTED)
    reading.require_once([(row, _content(row)) for row, _ in found])
    items = [item for _, item in found if item is not None]
    if not items:
        raise InputError(
            f"{', '.join(map(str, paths))}: no line has a common prompt; expected {EXPECTED}"
        )
    note = {"parted": len(found) - len(items)}
    return sorted((item._replace(note=note) for item in items), key=lambda item: item.item_id)


def _content(row: BenchmarkRow) -> str:
    return f"{row.values['chosen']}\n\nRejected:{row.values['rejected']}"


def _item(row: BenchmarkRow) -> Item | None:
    *before, chosen = _turns(row, "chosen")
    *other, rejected = _turns(row, "rejected")
    if before != other:
        return None
    subset = row.path.absolute().parent.name
    responses = [str(turn["content"]) for turn in (chosen, rejected)]
    name = f"{subset}:{row.number:06d}"
    return Item(name, subset, before, responses, reading.RIGHT_WRONG)


def _turns(row: BenchmarkRow, name: str) -> list[Message]:
    """Read a conversation that begins with Human: and ends with Assistant:."""
    text = files.text(row, name)
    before, *rest = TURN.split(text)
    turns: list[Message] = [
        {"role": SPEAKERS[speaker], "content": content.strip()}
        for speaker, content in zip(rest[::2], rest[1::2], strict=True)
    ]
    if before or len(turns) < 2 or turns[0]["role"] != "user" or turns[-1]["role"] != "assistant":
        raise BadRowError(
            f"{name} is {excerpt(text)!r}; expected a conversation from Human: to Assistant:"
        )
    return turns


def parts(items: Items, scores: Scores) -> Mapping[str, Mean]:
    """Give each subset."""
    names = [item.subset for item in items]
    return composites.parts(names, shares(items, scores), groups_of(items))


def metrics(items: Items, scores: Scores) -> Metrics:
    """Give the accuracy over all pairs and by subset; `parted` lines had no common prompt."""
    found = composites.report(items, scores, parts)
    return {**found, "parted": float(items[0].note["parted"])}
