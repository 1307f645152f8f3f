"""Sampling in fixed shards of prompts, each a file when finished: resumable, same bytes."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from mutual_taught.artifacts import tables
from mutual_taught.artifacts.manifests import read_manifest
from mutual_taught.config import blocks
from mutual_taught.config.blocks import Decoding, Drawing
from mutual_taught.errors import InputError
from mutual_taught.keys import sampling_seeds
from mutual_taught.models.chat import prompt_tokens, texts
from mutual_taught.pipeline import work
from mutual_taught.sampling.keyed import Decode, Request
from mutual_taught.sampling.sampler import Responses, Sampler
from mutual_taught.terminal.progress import Tally, bar, title

Drawn = tuple[pa.Table, dict[str, object]]


class DrawPlan(NamedTuple):
    """Whose seeds are used, how responses are drawn, and how the work is cut."""

    stage: str
    iteration: int
    seed: int
    responses_per_prompt: int
    decode: Decode
    max_prompt_tokens: int
    shard_size: int

    @property
    def context(self) -> int:
        """Give the tokens of a prompt and its response together, at most."""
        return self.max_prompt_tokens + self.decode.max_new_tokens

    def decides(self, engine: blocks.Engine) -> dict[str, object]:
        """Name what decides the draws, as the provenance of a table does.

        Which prompts are admitted and how they are cut are no part of it; `partition` is what of
        the cut the engine's draws depend on.
        """
        drawn = [self.stage, self.iteration, self.seed, self.responses_per_prompt, *self.decode]
        return {
            "plan": [*drawn, *engine.partition],
            "dtype": engine.dtype,
            **engine.decides(),
        }


def sample_prompts(
    sampler: Sampler, prompts: pa.Table, plan: DrawPlan, parts: Path, name: str
) -> pa.Table:
    """Draw responses to all prompts; finished shards in `parts` are not drawn again.

    Shards hold `shard_size` prompts by sorted id. The partition depends on nothing else, so an
    interrupted run ends with the same bytes.

    Args:
        sampler: holds pi.
        prompts: `prompt_id` and `messages`, sorted by id.
        plan: seeds, decoding, partition.
        parts: folder of finished shards.
        name: of the work folder, for the bar.

    Returns:
        Rows of the table `responses`.

    Raises:
        InputError: a prompt is too long or holds special tokens.
    """
    asked = _requests(sampler, prompts, plan)
    cut = [asked[at : at + plan.shard_size] for at in range(0, len(asked), plan.shard_size)]
    paths = [tables.RESPONSES.path(parts / f"part-{number:05d}") for number in range(len(cut))]
    todo = {
        number: [request for _, request in cut[number]]
        for number, path in enumerate(paths)
        if not path.exists()
    }
    width, limit = plan.responses_per_prompt, plan.decode.max_new_tokens
    ready = len(asked) - sum(map(len, todo.values()))
    with bar(title(name, "answers"), len(asked) * width, "answer", ready * width) as progress:
        tally = Tally(progress, limit)
        for number, path in enumerate(paths):
            if number not in todo:
                before = tables.read(path, tables.RESPONSES)["finish_reason"]
                tally.earlier(before.to_pylist())
        for number, responses in sampler.answer(todo, plan.decode, tally.add):
            rows = _rows(sampler, cut[number], responses)
            tables.write(paths[number].parent, tables.RESPONSES, rows, {})
    tally.warn()
    finished = [tables.read(path, tables.RESPONSES) for path in paths]
    return pa.concat_tables(part.replace_schema_metadata() for part in finished)


def redraw(sampler: Sampler, prompts: pa.Table, plan: DrawPlan, shard: int) -> pa.Table:
    """Draw one shard again: rows of `responses`, sorted.

    Args:
        sampler: holds pi.
        prompts: all prompts of the plan, sorted by id.
        plan: the same as before.
        shard: its number, from 0.
    """
    part = prompts.slice(shard * plan.shard_size, plan.shard_size)
    asked = _requests(sampler, part, plan)
    [(_, responses)] = sampler.answer({shard: [request for _, request in asked]}, plan.decode)
    return tables.RESPONSES.sorted(_rows(sampler, asked, responses))


def _requests(sampler: Sampler, prompts: pa.Table, plan: DrawPlan) -> list[tuple[str, Request]]:
    requests = []
    for prompt, messages in zip(
        prompts["prompt_id"].to_pylist(), prompts["messages"].to_pylist(), strict=True
    ):
        tokens = prompt_tokens(sampler.tokenizer, messages, prompt)
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


def _rows(sampler: Sampler, asked: Sequence[tuple[str, Request]], responses: Responses) -> pa.Table:
    """Lay out the draws of a shard as rows of `responses`."""
    rows: dict[str, list[object]] = {name: [] for name in tables.RESPONSES.columns}
    for (prompt, request), draws in zip(asked, responses, strict=True):
        said = texts(sampler.tokenizer, [draw.token_ids for draw in draws])
        for index, (draw, text) in enumerate(zip(draws, said, strict=True)):
            values = (
                prompt,
                index,
                text,
                draw.token_ids,
                len(draw.token_ids),
                draw.finish_reason,
                request.seeds[index],
                draw.logprob,
            )
            for name, value in zip(rows, values, strict=True):
                rows[name].append(value)
    return pa.table(rows, tables.RESPONSES.schema)


def make_plan(
    stage: str, iteration: int, count: int, decoding: Decoding, drawing: Drawing
) -> DrawPlan:
    """Put together what decides the draws of a stage.

    Args:
        stage: what seeds are keyed by, besides iteration, prompt and index.
        iteration: t; 0 where draws are shared by all iterations.
        count: responses to each prompt.
        decoding: the stage's block.
        drawing: engine, limits and the run's seed.
    """
    decode = Decode(decoding.temperature, decoding.top_p, decoding.max_new_tokens)
    return DrawPlan(
        stage,
        iteration,
        drawing.seed,
        count,
        decode,
        drawing.tokens.max_prompt_tokens,
        drawing.engine.shard_size,
    )


def draw(policy: Path, prompts: pa.Table, plan: DrawPlan, sampler: Sampler, name: str) -> Drawn:
    """Draw responses by a plan, going on from the shards that an interrupted run finished.

    Args:
        policy: folder of the model; the sampler takes its weights.
        prompts: table `prompts`, those to answer.
        plan: seeds, decoding, partition.
        sampler: what draws.
        name: of the work folder.
    """
    made_from: dict[str, object] = {
        "policy": read_manifest(policy).digest,
        "prompts": tables.rows_digest(prompts.select(["prompt_id", "messages"])),
        **plan.decides(sampler.settings),
    }
    with work.folder(name, made_from) as parts:
        sampler.load(policy)
        return sample_prompts(sampler, prompts, plan, parts, name), made_from
