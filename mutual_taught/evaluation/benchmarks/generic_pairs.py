"""Benchmark `pairs`: any file of a prompt, a chosen and a rejected response."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from mutual_taught.evaluation.benchmarks import composites, files
from mutual_taught.evaluation.benchmarks.base import (
    Item,
    Items,
    Metrics,
    Scores,
    groups_of,
)
from mutual_taught.evaluation.benchmarks.files import BenchmarkRow
from mutual_taught.evaluation.benchmarks.pairs import share_table, shares
from mutual_taught.evaluation.benchmarks.resampling import Mean

HUB = None
EXPECTED = (
    "rows of prompt (text) or messages (turns), chosen, rejected and, if you like, subset and id"
)
records = share_table


def read(paths: Sequence[Path]) -> Items:
    """Read pairs; a row without an `id` is called by its file and number.

    Raises:
        InputError: see `files.parsed`; or an id occurs twice.
    """
    items = files.parsed(paths, _item, EXPECTED)
    files.require_distinct([item.item_id for item in items], paths)
    return items


def _item(row: BenchmarkRow) -> Item:
    messages = files.prompt(row, "messages", "prompt")
    both = [files.response(row, name, messages) for name in ("chosen", "rejected")]
    if both[0] == both[1]:
        raise files.BadRowError("chosen and rejected are the same text; expected two answers")
    return Item(files.name(row), files.subset(row), messages, both, (1.0, 0.0))


def parts(items: Items, scores: Scores) -> Mapping[str, Mean]:
    """Give each subset that the file names, as `subset.<name>`."""
    named = [place for place, item in enumerate(items) if item.subset]
    names = [f"subset.{items[place].subset}" for place in named]
    return composites.parts(names, shares(items, scores)[named], groups_of(items)[named])


def metrics(items: Items, scores: Scores) -> Metrics:
    """Give what is said of all pairs, and the accuracy in each subset: a tie is an error."""
    return composites.report(items, scores, parts)
