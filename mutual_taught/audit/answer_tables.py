"""Checks that all tables of sampled answers share."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mutual_taught.artifacts import tables
from mutual_taught.audit import faults
from mutual_taught.audit.faults import Fault, Faults
from mutual_taught.config import blocks
from mutual_taught.keys import sampling_seeds

FINISH = pa.array(["stop", "length"])


def seeds(
    path: Path, table: tables.Table, data: pa.Table, settings: blocks.Params, stage: str, t: int
) -> Faults:
    """Every answer's seed is that of its stage, iteration, prompt and index."""
    several = "response_index" in data.column_names
    indices = data["response_index"].to_numpy() if several else np.zeros(len(data), np.int64)
    seeds = sampling_seeds(settings.seed, t, stage, data["prompt_id"], indices)
    bad = data["seed"].to_numpy() != seeds
    yield from faults.first(path, table, data, "seed", bad, f"that of {stage} at iteration {t}")


def drawn(path: Path, table: tables.Table, data: pa.Table, given: bool = False) -> Faults:
    """Lengths and finish reasons of answers; those that were given may be too long."""
    lengths = pc.list_value_length(data["token_ids"]).to_numpy()
    yield from faults.first(
        path,
        table,
        data,
        "length_tokens",
        data["length_tokens"].to_numpy() != lengths,
        "the number of its token_ids",
    )
    ends = pa.array(["stop", tables.TOO_LONG]) if given else FINISH
    known = pc.is_in(data["finish_reason"], ends).to_numpy()
    yield from faults.first(
        path, table, data, "finish_reason", ~known, " or ".join(ends.to_pylist())
    )


def reasons(path: Path, table: tables.Table, data: pa.Table) -> Faults:
    """An answer has a reward, or the reason why it has none."""
    for name in (name for name in table.columns if name.endswith("reason")):
        without = data[name.replace("reason", "reward")].is_null().to_numpy()
        yield from faults.first(
            path,
            table,
            data,
            name,
            ~said(data[name], without),
            f"{' or '.join(tables.UNSCORED)} where there is no reward, else nothing",
        )


def said(reasons: pa.ChunkedArray, without: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Tell which answers have a reason exactly if they have no reward, and one that there is."""
    known = pc.is_in(reasons, pa.array(tables.UNSCORED)).to_numpy()
    return np.asarray(np.where(without, known, pc.equal(reasons, "").to_numpy()))


def asked(path: Path, found: pa.ChunkedArray, prompts: pa.Table) -> Faults:
    """The prompts answered are those of the split."""
    answered, wanted = pc.unique(found), prompts["prompt_id"].combine_chunks()
    if answered.equals(wanted):  # both are sorted in a run that is right
        return
    mine, right = set(answered.to_pylist()), set(wanted.to_pylist())
    for prompt in sorted(mine ^ right)[:1]:
        there = "answered" if prompt in mine else "not answered"
        yield Fault(path, f"prompt {prompt}", there, "exactly the prompts of its split")
