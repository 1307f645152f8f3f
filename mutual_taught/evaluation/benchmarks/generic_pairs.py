"""Benchmark `pairs`: any file of a prompt, a chosen and a rejected answer."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from mutual_taught.evaluation.benchmarks import files
from mutual_taught.evaluation.benchmarks.base import (
    SEED,
    Item,
    Items,
    Metrics,
    Scores,
    compared,
    record_table,
)
from mutual_taught.evaluation.benchmarks.files import Row
from mutual_taught.method.statistics import pair_accuracy, ranked_right

HUB = None
EXPECTED = (
    "rows of prompt (text) or messages (turns), chosen, rejected and, if you like, subset and id"
)


def read(paths: Sequence[Path]) -> Items:
    """Read pairs; a row without an `id` is called by its file and number.

    Raises:
        InputError: see `files.parsed`; or an id occurs twice.
    """
    items = files.parsed(paths, _item, EXPECTED)
    files.require_distinct([item.item_id for item in items], paths)
    return items


def _item(row: Row) -> Item:
    messages = files.prompt(row, "messages", "prompt")
    both = [files.answer(row, name, messages) for name in ("chosen", "rejected")]
    if both[0] == both[1]:
        raise files.BadRowError("chosen and rejected are the same text; expected two answers")
    return Item(files.name(row), files.subset(row), messages, both, (1.0, 0.0))


def metrics(items: Items, scores: Scores) -> Metrics:
    """Give the accuracy over all pairs and in each subset: a tie is an error."""
    pairs = compared(items, scores)
    found = pair_accuracy(pairs.reward_chosen, pairs.reward_rejected, SEED, pairs.group)
    return {
        "accuracy": found.accuracy.mean,
        "ci_lo": found.accuracy.ci_lo,
        "ci_hi": found.accuracy.ci_hi,
        "n": float(len(items)),
        "ties": float(found.ties),
        "unscored": float(found.unscored),
    }


def records(items: Items, scores: Scores) -> pa.Table:
    """Say of each pair whether it is ranked right."""
    pairs = compared(items, scores)
    return record_table(
        items, scores, ranked_right(pairs.reward_chosen, pairs.reward_rejected).tolist()
    )
