"""Draw random shards of a finished run again, and compare them with what it says."""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mutual_taught.artifacts import files, tables
from mutual_taught.artifacts.manifests import STEP
from mutual_taught.audit import provenance
from mutual_taught.config import blocks, params
from mutual_taught.errors import InputError
from mutual_taught.sampling import shards
from mutual_taught.sampling.engine import Engine
from mutual_taught.sampling.start import start_engine
from mutual_taught.steps.sample import policy_prompts


class Draws(NamedTuple):
    """Answers that a policy drew, and how; `step` and `prefix` name them in a table of duels."""

    path: Path
    table: tables.Table
    policy: Path
    prompts: pa.Table
    plan: shards.Plan
    step: int | None = None
    prefix: str = ""

    def said(self) -> pa.Table:
        """Read the answers as the run has them."""
        rows = tables.read(self.path, self.table)
        if self.step is None:
            return rows
        rows = rows.filter(pc.equal(rows["step"], self.step))
        drawn = ("response", "token_ids", "finish_reason")
        columns = {name: rows[f"{self.prefix}{name}"] for name in drawn}
        return pa.table({"prompt_id": rows["prompt_id"], **columns})


class Redrawn(NamedTuple):
    """One shard drawn again: how many answers, how many with the same tokens, all bits equal."""

    path: Path
    shard: int
    answers: int
    same_tokens: int
    bit_equal: bool

    def __str__(self) -> str:
        """Say it in one line."""
        verdict = "bit-equal"
        if not self.bit_equal:
            verdict = f"{self.same_tokens} of {self.answers} answers have the same tokens"
        return f"{self.path}: shard {self.shard}: {verdict}"


def resample(run: Path, count: int, seed: int) -> Iterator[Redrawn]:
    """Draw `count` shards again, chosen at random among all of the run.

    Args:
        run: folder of the run; params.yaml must be the run's.
        count: how many shards, all there are at most.
        seed: of the choice.

    Raises:
        InputError: the run holds no drawn answers.
    """
    everything = [
        (drawn, shard)
        for drawn in _all(run)
        for shard in range(-(-len(drawn.prompts) // drawn.plan.shard_size))
    ]
    if not everything:
        raise InputError(f"{run}: holds no drawn answers; run dvc repro first")
    chosen = random.Random(seed).sample(everything, min(count, len(everything)))
    context = max(drawn.plan.context for drawn, _ in chosen)
    limits = params.load(blocks.Tokens)
    with start_engine(params.load(blocks.Engine), context, limits) as engine:
        for policy in sorted({drawn.policy for drawn, _ in chosen}):
            engine.load(policy)
            for drawn, shard in chosen:
                if drawn.policy == policy:
                    yield _compare(drawn, shard, engine)


def _all(run: Path) -> Iterator[Draws]:
    """List the tables of answers of all iterations that were active."""
    settings = params.validate(params.read(params.PARAMS))
    seed, tokens, engine = settings.seed, settings.tokens, settings.engine
    for folder in files.iterations(run):
        if folder.name != "0" and folder.name not in settings.iterations:
            raise InputError(
                f"{folder}: is no iteration of params.yaml; expected 0, "
                f"{', '.join(settings.iterations)}; remove it, or use the run's own params.yaml"
            )
        t = int(folder.name)
        sample = params.load(blocks.Sample, folder.name if t else None)
        before = run / settings.iterations[folder.name].prev / "policy" if t else folder / "policy"
        listed = (
            ("sample", t, tables.RESPONSES, before, "policy", sample, sample.responses_per_prompt),
            ("answer", t, tables.ANSWERS, folder / "policy", "reward", settings.answer, 1),
            (
                "eval",
                0,
                tables.GENERATIONS,
                folder / "policy",
                "eval",
                settings.eval,
                settings.eval.responses_per_prompt,
            ),
        )
        for stage, key, table, policy, split, decoding, width in listed:
            place = folder / "eval" if stage == "eval" else folder
            path = place / f"{table.name}.parquet"
            if not path.exists() or not len(tables.read(path, table)):
                continue
            if stage == "sample" and sample.source == "given":
                continue
            prompts = tables.read(
                run / "0" / "splits" / f"{split}.parquet", tables.renamed(tables.PROMPTS, split)
            )
            if split == "policy":
                prompts = policy_prompts(prompts, t)
            plan = shards.make_plan(stage, key, seed, width, decoding, engine, tokens)
            yield Draws(path, table, policy, prompts, plan)
        duels = folder / "duels.parquet"
        if t and len(tables.read(duels, tables.DUELS)):
            plan = shards.make_plan("duel", t, seed, 1, settings.duel, engine, tokens)
            asked = tables.read(
                run / "0" / "splits" / "selection.parquet",
                tables.renamed(tables.PROMPTS, "selection"),
            )
            steps = [int(place.name.split("-")[1]) for place in provenance.checkpoints(folder)]
            yield Draws(duels, tables.DUELS, before, asked, plan, steps[0], "previous_")
            for step in steps:
                candidate = folder / "checkpoints" / STEP.format(step)
                yield Draws(duels, tables.DUELS, candidate, asked, plan, step)


def _compare(drawn: Draws, shard: int, engine: Engine) -> Redrawn:
    again = shards.redraw(engine, drawn.prompts, drawn.plan, shard)
    said = drawn.said()
    mine = said.filter(pc.is_in(said["prompt_id"], pc.unique(again["prompt_id"])))
    if len(mine) != len(again):
        return Redrawn(drawn.path, shard, len(again), 0, False)
    pairs = zip(mine["token_ids"].to_pylist(), again["token_ids"].to_pylist(), strict=True)
    same = np.array([a == b for a, b in pairs])
    equal = all(
        mine[name].combine_chunks().equals(again[name].combine_chunks())
        for name in ("response", "finish_reason", "logprob", "seed")
        if name in mine.column_names
    )
    return Redrawn(drawn.path, shard, len(again), int(same.sum()), bool(same.all() and equal))
