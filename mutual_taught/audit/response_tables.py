"""Checks that all tables of sampled responses share."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mutual_taught.artifacts import joins, tables
from mutual_taught.audit import faults
from mutual_taught.audit.faults import Fault, Faults
from mutual_taught.audit.run import CheckedIteration, Reader
from mutual_taught.keys import sampling_seeds
from mutual_taught.models.chat import texts
from mutual_taught.models.packed.conversations import Asked, fit_responses
from mutual_taught.terminal.progress import each

Lengths = NDArray[np.int64]
Mask = NDArray[np.bool_]
BLOCK = 4096  # responses read at once


def seeds(
    of: CheckedIteration, table: tables.Table, data: pa.Table, drew: tuple[str, int], side: str = ""
) -> Faults:
    """Every response's seed is that of its stage, iteration, prompt and index.

    Args:
        of: the iteration.
        table: the schema of the responses.
        data: their rows.
        drew: the stage, and its t, whose seeds they have.
        side: prefix of the column, where a table has two responses a row.
    """
    (stage, t), name = drew, f"{side}seed"
    several = "response_index" in data.column_names
    indices = data["response_index"].to_numpy() if several else np.zeros(len(data), np.int64)
    expected = sampling_seeds(of.settings.seed, t, stage, data["prompt_id"], indices)
    bad, wanted = data[name].to_numpy() != expected, f"that of {stage} at iteration {t}"
    yield from faults.first(of.path(table), table, data, name, bad, wanted)


def drawn(
    path: Path, table: tables.Table, data: pa.Table, reader: Reader, longest: int, side: str = ""
) -> Faults:
    """Drawn responses read as their tokens do, and end where a draw ends.

    A draw ends with the first stop token, or at the longest length without one.

    Args:
        path: where the table was read from.
        table: its schema.
        data: its rows.
        reader: the policy's tokenizer, and its stop tokens.
        longest: tokens a response may have.
        side: prefix of the columns, where a table has two responses a row.
    """
    tokens, reasons = data[f"{side}token_ids"].combine_chunks(), data[f"{side}finish_reason"]
    lengths, ended, early = _ends(tokens, reader)
    bad = (lengths < 1) | (lengths > longest) | early
    expected = f"1 to {longest} tokens, none but the last a stop token"
    yield from faults.first(path, table, data, f"{side}token_ids", bad, expected)
    known = pc.equal(reasons, pa.array(["length", "stop"]).take(pa.array(ended * 1))).to_numpy()
    bad = ~known | (~ended & (lengths != longest))
    expected = f"stop after a stop token, length after {longest} tokens without one"
    yield from faults.first(path, table, data, f"{side}finish_reason", bad, expected)
    yield from _counted(path, table, data, lengths)
    yield from _read(path, table, data, reader, side)


def _ends(tokens: pa.ListArray, reader: Reader) -> tuple[Lengths, Mask, Mask]:
    """Find lengths, which responses end in a stop token, and which have one before their end."""
    lengths = pc.list_value_length(tokens).to_numpy().astype(np.int64)
    stops = np.isin(tokens.flatten().to_numpy(), sorted(reader.stop_ids))
    ends = np.cumsum(lengths)
    ended = np.zeros(len(lengths), bool)
    ended[lengths > 0] = stops[ends[lengths > 0] - 1]
    counted = np.bincount(
        np.repeat(np.arange(len(lengths)), lengths)[stops], minlength=len(lengths)
    )
    return lengths, ended, counted > ended


def _counted(path: Path, table: tables.Table, data: pa.Table, lengths: Lengths) -> Faults:
    if "length_tokens" in data.column_names:
        bad = data["length_tokens"].to_numpy() != lengths
        yield from faults.first(
            path, table, data, "length_tokens", bad, "the number of its token_ids"
        )


def _read(path: Path, table: tables.Table, data: pa.Table, reader: Reader, side: str) -> Faults:
    """Texts are those of the tokens; they are read block by block, so that memory stays low."""
    name, begins = f"{side}response", range(0, len(data), BLOCK)
    for begin in each(f"reading {path}", begins, "block"):
        part = data.slice(begin, BLOCK)
        expected = pa.array(
            texts(reader.tokenizer, part[f"{side}token_ids"].to_pylist()), tables.TEXT
        )
        bad = pc.not_equal(part[name].combine_chunks(), expected)
        yield from faults.first(path, table, part, name, bad, "the text of its tokens")


def unscored(
    of: CheckedIteration, table: tables.Table, data: pa.Table, asked: pa.Table, side: str = ""
) -> Faults:
    """A response without a reward is one that the reward model cannot read, for the reason given.

    Args:
        of: the iteration.
        table: the schema of the rewards.
        data: its rows.
        asked: the same rows: `prompt_id`, `messages` and `response`.
        side: prefix of the column `reason`.
    """
    name, judging = f"{side}reason", of.run.reader.judging
    rows = np.flatnonzero(pc.not_equal(data[name], "").to_numpy())
    expected = np.full(len(data), "", object)
    for row, one in zip(rows, asked.take(pa.array(rows)).to_pylist(), strict=True):
        whole = Asked(one["prompt_id"], one["messages"], [one["response"]])
        [expected[row]] = fit_responses(judging, whole, of.settings.tokens.max_length).reasons
    bad = expected != data[name].to_numpy(zero_copy_only=False)
    wanted = "why the reward model cannot read it, or nothing if it can"
    yield from faults.first(of.path(table), table, data, name, bad, wanted)


def asked_with(responses: pa.Table, prompts: pa.Table, path: Path) -> pa.Table:
    """Put its prompt beside every response: `prompt_id`, `messages` and `response`."""
    ids = responses["prompt_id"]
    messages = joins.align(prompts, ids.to_pylist(), path)["messages"]
    return pa.table([ids, messages, responses["response"]], ["prompt_id", "messages", "response"])


def reasons(path: Path, table: tables.Table, data: pa.Table) -> Faults:
    """A response has a reward, or the reason why it has none."""
    for name in (name for name in table.columns if name.endswith("reason")):
        without = data[name.replace("reason", "reward")].is_null().to_numpy()
        yield from faults.first(
            path,
            table,
            data,
            name,
            ~explained(data[name], without),
            f"{' or '.join(tables.UNSCORED)} where there is no reward, else nothing",
        )


def explained(reasons: pa.ChunkedArray, without: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Tell which responses have a reason exactly if they have no reward, and one that there is."""
    known = pc.is_in(reasons, pa.array(tables.UNSCORED)).to_numpy()
    return np.asarray(np.where(without, known, pc.equal(reasons, "").to_numpy()))


def asked(path: Path, prompt_ids: pa.ChunkedArray, prompts: pa.Table) -> Faults:
    """The prompts answered are those of the split."""
    answered, wanted = pc.unique(prompt_ids), prompts["prompt_id"].combine_chunks()
    if answered.equals(wanted):  # both are sorted in a run that is right
        return
    actual, expected = set(answered.to_pylist()), set(wanted.to_pylist())
    for prompt in sorted(actual ^ expected)[:1]:
        there = "answered" if prompt in actual else "not answered"
        yield Fault(path, f"prompt {prompt}", there, "exactly the prompts of its split")
