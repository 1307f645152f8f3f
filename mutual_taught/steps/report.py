"""What the report of an iteration shows and keeps, from the iteration's tables."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mutual_taught.artifacts import joins, tables
from mutual_taught.evaluation import gold_tables
from mutual_taught.report import past


class Inputs(NamedTuple):
    """Where the files of an iteration are: its folder, its evaluation, and the splits."""

    tables: Path
    evaluation: Path
    splits: Path


def evaluated(inputs: Inputs) -> dict[str, pa.Table]:
    """Read the tables of an evaluation, and which instructions its prompts have."""
    prompts = tables.read(tables.split("eval").path(inputs.splits), tables.PROMPTS)
    found = {
        table.name: tables.read(table.path(inputs.evaluation), table)
        for table in past.OF_EVALUATION
    }
    return {past.INSTRUCTIONS: prompts.select(["prompt_id", "instruction_ids"]), **found}


def stepped(inputs: Inputs) -> dict[str, pa.Table]:
    """Read the tables that the steps of an iteration exchange, pseudo pairs with their gold."""
    found = {table.name: tables.read(table.path(inputs.tables), table) for table in past.OF_STEPS}
    path = tables.split("reward").path(inputs.splits)
    prompts = tables.read(path, tables.PROMPTS)
    pairs = tables.PSEUDO_PAIRS.name
    return {**found, pairs: with_gold(found[pairs], prompts, path)}


def with_gold(pairs: pa.Table, prompts: pa.Table, path: Path) -> pa.Table:
    """Add the gold of both answers to pseudo pairs: null where a prompt has no instructions.

    Args:
        pairs: table `pseudo_pairs`; it is given back as it is where it has gold already.
        prompts: table `prompts` of the reward split.
        path: where the prompts were read from, for messages.
    """
    if "gold" in pairs.column_names:
        return pairs
    asked = joins.align(prompts, pairs["prompt_id"].to_pylist(), path)
    known = pc.greater(pc.list_value_length(asked["instruction_ids"]), 0).to_numpy()
    own, previous = np.full(len(pairs), np.nan), np.full(len(pairs), np.nan)
    if known.any():
        golds = gold_tables.of_both(pairs.filter(pa.array(known)), prompts, path)
        own[known], previous[known] = golds
    columns: Mapping[str, pa.Array] = {
        "gold": tables.numbers(own),
        "previous_gold": tables.numbers(previous),
    }
    for name, column in columns.items():
        pairs = pairs.append_column(name, column)
    return pairs
