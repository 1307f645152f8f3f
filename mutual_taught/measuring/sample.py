"""`mutual-taught sample`: a policy's responses beside the prompts of any file."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from mutual_taught.artifacts.schemas import GENERATIONS, TEXT
from mutual_taught.evaluation import gold
from mutual_taught.measuring import checkpoints, rowfile
from mutual_taught.measuring.checkpoints import Checkpoint
from mutual_taught.measuring.rowfile import Parsed, Read
from mutual_taught.measuring.settings import Terms
from mutual_taught.pipeline import work
from mutual_taught.prepare.conversations import Prompt

# The columns of `generations` that a policy alone gives: no reward, nothing of pi_0.
OWN = (
    *("prompt_id", "response_index", "response", "token_ids", "length_tokens", "length_chars"),
    *("finish_reason", "seed", "logprob", "gold", "passed"),
)
# `skipped` says why a row has no response; `reason` is left to scoring, which says so of rewards.
ADDED = {**{name: GENERATIONS.columns[name] for name in OWN}, "skipped": TEXT}
Row = dict[str, Any]


class SamplePlan(NamedTuple):
    """Whose responses are drawn, and to which rows."""

    model: Checkpoint
    file: Read
    parsed: Sequence[Parsed]
    out: Path


class Count(NamedTuple):
    """How many rows a file has, how many responses there are, and why rows have none."""

    rows: int
    responses: int
    unread: str


def plan(file: Path, model: Path, out: Path) -> SamplePlan:
    """Look at everything that can be wrong, without torch.

    Raises:
        InputError: the model is a reward model; no column has prompts, or responses are there
            already; no row can be used; or there is something at `out`.
        MissingFileError: the file or the model is not there.
    """
    checkpoint = checkpoints.find(model)
    checkpoints.require(checkpoint, "policy", "sampling")
    read = rowfile.read(file)
    named = rowfile.prompts_of(read)
    rowfile.require_place(out, read.columns, list(ADDED))
    parsed = [rowfile.parse(row, named) for row in read.rows]
    rowfile.require_some(parsed, file)
    return SamplePlan(checkpoint, read, parsed, out)


def run(planned: SamplePlan, terms: Terms) -> Count:
    """Draw the responses and write a row for each; an interrupted run goes on."""
    from mutual_taught.measuring import benchmark, limits, ready
    from mutual_taught.measuring.responses import Question, answer

    folder = ready.ready(planned.model, terms.drawing.tokens)
    terms = limits.within(folder, terms)
    parsed = _screened(planned.parsed, folder, terms)
    rowfile.require_some(parsed, planned.file.path)
    asked = {one.prompt.prompt_id: one.prompt for one in parsed if one.prompt is not None}
    questions = [Question(name, prompt.messages) for name, prompt in asked.items()]
    with benchmark.drawing(terms) as sampler:
        drawn, _ = answer(sampler, folder, questions, terms, "sample-file")
    responses: dict[str, list[Row]] = {}
    for row in drawn.to_pylist():
        responses.setdefault(row["prompt_id"], []).append(row)
    rows = [
        {**row.values, **cells}
        for row, one in zip(planned.file.rows, parsed, strict=True)
        for cells in _cells(one, responses)
    ]
    rowfile.write(planned.out, rows, pa.schema(list(ADDED.items())))
    work.finish()
    count = sum(row["response"] is not None for row in rows)
    return Count(len(parsed), count, rowfile.counted(parsed))


def _screened(parsed: Sequence[Parsed], policy: Path, terms: Terms) -> list[Parsed]:
    """Take from the rows those that the policy cannot read, each with its reason."""
    from mutual_taught.models.load import load_tokenizer
    from mutual_taught.prepare.screening import screen

    tokenizer = load_tokenizer(policy)
    screening = screen(tokenizer, tokenizer, terms.drawing.tokens, 0)
    found = []
    for one in parsed:
        reason = "" if one.prompt is None else screening.reason(one.prompt)
        found.append(Parsed(None, reason) if reason else one)
    return found


def _cells(parsed: Parsed, responses: dict[str, list[Row]]) -> Iterator[Row]:
    """Give the cells that a row gains, once for each response; empty ones where it is no prompt."""
    if parsed.prompt is None:
        yield {**dict.fromkeys(ADDED), "skipped": parsed.reason}
        return
    for row in responses[parsed.prompt.prompt_id]:
        text = row["response"]
        more = {"length_chars": len(text), **_gold(parsed.prompt, text), "skipped": ""}
        yield {name: {**row, **more}[name] for name in ADDED}


def _gold(prompt: Prompt, text: str) -> Row:
    """Say how far a response follows its prompt's instructions, where it has some."""
    ids, kwargs = prompt.instruction_ids, prompt.instruction_kwargs
    if not ids:
        return {"gold": None, "passed": None}
    share = gold.gold(text, ids, kwargs)
    return {"gold": share, "passed": share == 1.0}
