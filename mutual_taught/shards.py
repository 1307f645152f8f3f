"""Sampling in fixed shards of prompts, each a file when finished: resumable, same bytes."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from mutual_taught import tables
from mutual_taught.chat import prompt_tokens
from mutual_taught.errors import InputError
from mutual_taught.generate import Decode, Draw, Request, sample
from mutual_taught.keys import sampling_seeds
from mutual_taught.models import Policy
from mutual_taught.progress import Tally, bar


class Plan(NamedTuple):
    """Whose seeds are used, how answers are drawn, and how the work is cut."""

    stage: str
    iteration: int
    seed: int
    responses_per_prompt: int
    decode: Decode
    max_prompt_tokens: int
    shard_size: int
    batch_size: int


def sample_prompts(policy: Policy, prompts: pa.Table, plan: Plan, parts: Path) -> pa.Table:
    """Draw answers to all prompts; finished shards in `parts` are not drawn again.

    Shards hold `shard_size` prompts by sorted id; inside one, prompts are batched by length. The
    partition depends on nothing else, so an interrupted run ends with the same bytes.

    Args:
        policy: pi.
        prompts: `prompt_id` and `messages`, sorted by id.
        plan: seeds, decoding, partition.
        parts: folder of finished shards.

    Returns:
        Rows of the table `responses`.

    Raises:
        InputError: a prompt is too long or holds special tokens.
    """
    requests = _requests(policy, prompts, plan)
    cut = [requests[at : at + plan.shard_size] for at in range(0, len(requests), plan.shard_size)]
    folders = [parts / f"part-{number:05d}" for number in range(len(cut))]
    paths = [folder / "responses.parquet" for folder in folders]
    ready = sum(len(shard) for shard, path in zip(cut, paths, strict=True) if path.exists())
    width, limit = plan.responses_per_prompt, plan.decode.max_new_tokens
    finished = []
    with bar(plan.stage, len(requests) * width, "answer", ready * width) as progress:
        tally = Tally(progress, limit)
        for shard, folder, path in zip(cut, folders, paths, strict=True):
            fresh = not path.exists()
            if fresh:
                tables.write(folder, tables.RESPONSES, _draw(policy, shard, plan), {})
            part = tables.read(path, tables.RESPONSES)
            tally.add(part["length_tokens"].to_numpy(), part["finish_reason"].to_pylist(), fresh)
            finished.append(part.replace_schema_metadata())
    tally.warn()
    return pa.concat_tables(finished)


def redraw(policy: Policy, prompts: pa.Table, plan: Plan, shard: int) -> pa.Table:
    """Draw one shard again: rows of `responses`, sorted.

    Args:
        policy: pi.
        prompts: all prompts of the plan, sorted by id.
        plan: the same as before.
        shard: its number, from 0.
    """
    part = prompts.slice(shard * plan.shard_size, plan.shard_size)
    rows = pa.table(_draw(policy, _requests(policy, part, plan), plan), tables.RESPONSES.schema)
    return rows.sort_by([(key, "ascending") for key in tables.RESPONSES.keys])


def _requests(policy: Policy, prompts: pa.Table, plan: Plan) -> list[tuple[str, Request]]:
    requests = []
    for prompt, messages in zip(
        prompts["prompt_id"].to_pylist(), prompts["messages"].to_pylist(), strict=True
    ):
        tokens = prompt_tokens(policy.tokenizer, messages, prompt)
        if len(tokens) > plan.max_prompt_tokens:
            raise InputError(
                f"prompt {prompt}: {len(tokens)} tokens; expected at most "
                f"tokens.max_prompt_tokens {plan.max_prompt_tokens}; raise it or drop the prompt"
            )
        indices = np.arange(plan.responses_per_prompt)
        seeds = sampling_seeds(
            plan.seed, plan.iteration, plan.stage, [prompt] * len(indices), indices
        )
        requests.append((prompt, Request(tokens, seeds.tolist())))
    return requests


def _draw(
    policy: Policy, shard: Sequence[tuple[str, Request]], plan: Plan
) -> dict[str, list[object]]:
    rows: dict[str, list[object]] = {name: [] for name in tables.RESPONSES.columns}
    for batch in _batches(shard, max(1, plan.batch_size // plan.responses_per_prompt)):
        draws = sample(policy, [request for _, request in batch], plan.decode)
        for (prompt, request), answers in zip(batch, draws, strict=True):
            texts = policy.tokenizer.batch_decode(
                [draw.token_ids for draw in answers], skip_special_tokens=True
            )
            for index, (draw, text) in enumerate(zip(answers, texts, strict=True)):
                _append(rows, prompt, index, request.seeds[index], draw, text)
    return rows


def _batches(
    shard: Sequence[tuple[str, Request]], size: int
) -> Iterator[list[tuple[str, Request]]]:
    ordered = sorted(shard, key=lambda item: (len(item[1].tokens), item[0]))
    for start in range(0, len(ordered), size):
        yield ordered[start : start + size]


def _append(
    rows: dict[str, list[object]], prompt: str, index: int, seed: int, draw: Draw, text: str
) -> None:
    values = (
        prompt, index, text, draw.token_ids, len(draw.token_ids), draw.finish_reason, seed,
        draw.logprob,
    )  # fmt: skip
    for name, value in zip(rows, values, strict=True):
        rows[name].append(value)
