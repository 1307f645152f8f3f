"""Joins of tables: by ids, never by position; and counts of what was kept."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mutual_taught.artifacts.schemas import TEXT
from mutual_taught.artifacts.table import Table
from mutual_taught.errors import InputError


def align(data: pa.Table, prompt_ids: Sequence[str], path: Path) -> pa.Table:
    """Take the rows of the given prompts, in their order, from a table with one row a prompt.

    Raises:
        InputError: a prompt has no row.
    """
    where = pc.index_in(pa.array(prompt_ids, TEXT), data["prompt_id"].combine_chunks())
    if where.null_count:
        missing = prompt_ids[where.is_null().to_pylist().index(True)]
        raise InputError(f"{path} has no row for prompt {missing!r}; run dvc repro")
    return data.take(where)


def same_keys(left: pa.Table, right: pa.Table, table: Table, path: Path) -> None:
    """Check that two sorted tables have the same key columns, row by row.

    Raises:
        InputError: they have not; `path` names the right one.
    """
    for key in table.keys:
        if not left[key].equals(right[key]):
            raise InputError(f"{path}: its {key} values are not those it belongs to; run dvc repro")


def width(data: pa.Table, path: Path) -> int:
    """Give M, the number of responses every prompt has.

    Raises:
        InputError: prompts have different numbers of rows, or indices are not 0 to M-1.
    """
    prompts = pc.count_distinct(data["prompt_id"]).as_py()
    count = len(data) // max(prompts, 1)
    if not np.array_equal(data["response_index"].to_numpy(), np.tile(np.arange(count), prompts)):
        raise InputError(f"{path}: prompts do not all have responses 0 to {count - 1}")
    return int(count)


def counts(kept: pa.ChunkedArray, reasons: pa.ChunkedArray) -> dict[str, float]:
    """Count kept rows and dropped ones by reason, as metrics."""
    dropped = Counter(reason for reason in reasons.to_pylist() if reason)
    named = {f"dropped_{reason}": float(count) for reason, count in sorted(dropped.items())}
    return {"rows": float(len(kept)), "kept": float(pc.sum(kept).as_py() or 0), **named}


def sides(ranked: pa.Table, responses: pa.Table, column: str, width: int) -> list[pa.ChunkedArray]:
    """Give a column of the chosen and of the rejected responses of the kept pairs, in order.

    Args:
        ranked: table `ranked_pairs`, one row a prompt, sorted.
        responses: table `responses` of the same prompts, M rows each, sorted.
        column: of `responses`.
        width: M.
    """
    kept = np.flatnonzero(ranked["kept"].to_numpy())
    found: list[pa.ChunkedArray] = []
    for side in ("chosen_index", "rejected_index"):
        index = ranked[side].take(pa.array(kept)).to_numpy().astype(np.int64)
        found.append(responses[column].take(pa.array(kept * width + index)))
    return found
