"""Draw random shards of a finished run again, and compare them with what it says."""

import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mutual_taught.artifacts import files, tables
from mutual_taught.artifacts.manifests import STEP, read_steps
from mutual_taught.audit.provenance import previous_draw
from mutual_taught.audit.run import Iteration, Run
from mutual_taught.config import blocks, params
from mutual_taught.errors import InputError
from mutual_taught.sampling import shards
from mutual_taught.sampling.engine import Engine
from mutual_taught.sampling.start import start_engine

T = TypeVar("T")


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


def resample(run: Path, count: int | None, seed: int) -> Iterator[Redrawn]:
    """Draw `count` shards again, chosen at random among all of the run.

    Args:
        run: folder of the run; params.yaml must be the run's.
        count: how many shards, all there are at most; None for all.
        seed: of the choice.

    Raises:
        InputError: the run holds no drawn answers.
    """
    everything = [
        (drawn, shard)
        for of in iterations(run)
        for drawn in _drawn(of)
        for shard in range(-(-len(drawn.prompts) // drawn.plan.shard_size))
    ]
    if not everything:
        raise InputError(f"{run}: holds no drawn answers; run dvc repro first")
    chosen = some(everything, count, seed)
    context = max(drawn.plan.context for drawn, _ in chosen)
    limits = params.load(blocks.Tokens)
    with start_engine(params.load(blocks.Engine), context, limits) as engine:
        for policy in sorted({drawn.policy for drawn, _ in chosen}):
            engine.load(policy)
            for drawn, shard in chosen:
                if drawn.policy == policy:
                    yield _compare(drawn, shard, engine)


def some(everything: Sequence[T], count: int | None, seed: int) -> list[T]:
    """Choose some at random, or take all."""
    if count is None:
        return list(everything)
    return random.Random(seed).sample(everything, min(count, len(everything)))


def iterations(run: Path) -> Iterator[Iteration]:
    """List the iterations that a run holds.

    Raises:
        InputError: params.yaml has no such iteration.
    """
    settings = params.validate(params.read(params.PARAMS))
    known = ["0", *settings.iterations]
    keys = [folder.name for folder in files.iterations(run)]
    for key in keys:
        if key not in known:
            raise InputError(
                f"{run / key}: is no iteration of params.yaml; expected {', '.join(known)}; "
                "remove it, or use the run's own params.yaml"
            )
    reader = Run(run, keys)
    return (Iteration(reader, key, settings) for key in keys)


def _drawn(of: Iteration) -> Iterator[Draws]:
    """List an iteration's tables of drawn answers, if it is active."""
    settings = of.settings
    if of.began:
        yield from _sampled(of)
        yield from _duelled(of)
        plan = _plan(of, *previous_draw(of.key, settings), 1, settings.answer)
        anchor = of.run.folder / "0" if settings.answer.against == "base" else of.before
        table, policy = tables.PREVIOUS_ANSWERS, anchor / "policy"
        yield Draws(of.path(table), table, policy, of.run.split("reward"), plan)
    if of.active:
        policy, count = of.here / "policy", settings.eval.responses_per_prompt
        if of.t:
            plan, asked = _plan(of, "answer", of.t, 1, settings.answer), of.run.split("reward")
            yield Draws(of.path(tables.ANSWERS), tables.ANSWERS, policy, asked, plan)
        plan = _plan(of, "eval", 0, count, settings.eval)
        path = of.path(tables.GENERATIONS)
        yield Draws(path, tables.GENERATIONS, policy, of.run.split("eval"), plan)


def _sampled(of: Iteration) -> Iterator[Draws]:
    """The responses, unless they were given."""
    sample = params.load(blocks.Sample, of.key)
    if sample.source == "given":
        return
    plan = _plan(of, "sample", of.t, sample.responses_per_prompt, sample)
    path, policy = of.path(tables.RESPONSES), of.before / "policy"
    yield Draws(path, tables.RESPONSES, policy, of.policy_prompts(), plan)


def _duelled(of: Iteration) -> Iterator[Draws]:
    """The answers of pi_{t-1}, which stand beside each candidate's, and those of the candidates."""
    plan, prompts = _plan(of, "duel", of.t, 1, of.settings.duel), of.run.split("selection")
    checkpoints = of.here / "checkpoints"
    steps = read_steps(checkpoints)
    policies = [(of.before / "policy", steps[0], "previous_")]
    policies += [(checkpoints / STEP.format(step), step, "") for step in steps]
    for policy, step, prefix in policies:
        yield Draws(of.path(tables.DUELS), tables.DUELS, policy, prompts, plan, step, prefix)


def _plan(
    of: Iteration, stage: str, iteration: int, count: int, decoding: blocks.Decoding
) -> shards.Plan:
    settings = of.settings
    return shards.make_plan(
        stage, iteration, settings.seed, count, decoding, settings.engine, settings.tokens
    )


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
