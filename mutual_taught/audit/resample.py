"""Draw random shards of a finished run again, and compare them with what it says."""

import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mutual_taught.artifacts import files, tables
from mutual_taught.artifacts.manifests import STEP, read_steps
from mutual_taught.audit.provenance import plan_of, previous_draw
from mutual_taught.audit.run import CheckedIteration, Run
from mutual_taught.config import blocks, fields, params
from mutual_taught.errors import InputError
from mutual_taught.method.selection import seeds_of
from mutual_taught.models.precision import settle
from mutual_taught.sampling import shards
from mutual_taught.sampling.sampler import Sampler
from mutual_taught.sampling.start import start_sampler

T = TypeVar("T")
B = TypeVar("B", bound=fields.Block)
Floats = NDArray[np.float64]
# How far the log-prob of a whole response may be apart on another kind of machine, in nats.
LOGPS: Mapping[fields.Dtype, float] = {"float32": 1e-2, "bfloat16": 1.0}


class Draws(NamedTuple):
    """Responses that a policy drew, and how; `step` and `prefix` name them in a table of duels."""

    path: Path
    table: tables.Table
    policy: Path
    prompts: pa.Table
    plan: shards.DrawPlan
    step: int | None = None
    prefix: str = ""

    @property
    def dtype(self) -> fields.Dtype:
        """Name the format in which they were drawn."""
        made = tables.provenance(pq.read_schema(self.path).empty_table())
        dtype = as_made(params.load(blocks.Engine), made).dtype
        assert dtype != "auto"
        return dtype

    def stored(self) -> pa.Table:
        """Read the responses as the run has them."""
        rows = tables.read(self.path, self.table)
        if self.step is None:
            return rows
        rows = rows.filter(pc.equal(rows["step"], self.step))
        drawn = ("response", "token_ids", "finish_reason", "seed")
        columns = {name: rows[f"{self.prefix}{name}"] for name in drawn}
        return pa.table({"prompt_id": rows["prompt_id"], **columns})


class Redrawn(NamedTuple):
    """One shard drawn again: how many responses, how many with the same tokens, all bits equal.

    apart: how far the log-probs of responses with the same tokens are from the stored ones, at
    most; `tolerance` is how far they may be.
    """

    path: Path
    shard: int
    responses: int
    same_tokens: int
    bit_equal: bool
    apart: float
    tolerance: float

    @property
    def agrees(self) -> bool:
        """Tell whether it is what is stored, but for the rounding of log-probs."""
        return self.same_tokens == self.responses and self.apart <= self.tolerance

    def __str__(self) -> str:
        """Say it in one line."""
        verdict = "bit-equal"
        if not self.bit_equal:
            verdict = f"{self.same_tokens} of {self.responses} answers have the same tokens"
            verdict += f", log-probs are at most {self.apart:.3g} apart" * (self.apart > 0)
        return f"{self.path}: shard {self.shard}: {verdict}"


def resample(run: Path, count: int, seed: int) -> Iterator[Redrawn]:
    """Draw `count` shards again, chosen at random among all of the run.

    Args:
        run: folder of the run; params.yaml must be the run's.
        count: how many shards, all there are at most.
        seed: of the choice.

    Raises:
        InputError: the run holds no drawn responses.
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
    formats = {drawn.path: drawn.dtype for drawn, _ in chosen}
    for dtype in sorted(set(formats.values())):
        yield from _redrawn([one for one in chosen if formats[one[0].path] == dtype], dtype)


def _redrawn(chosen: Sequence[tuple[Draws, int]], dtype: fields.Dtype) -> Iterator[Redrawn]:
    """Draw shards again that were drawn in one format, those of one policy together."""
    context = max(drawn.plan.context for drawn, _ in chosen)
    settings = params.load(blocks.Engine).model_copy(update={"dtype": dtype})
    with start_sampler(settings, context, params.load(blocks.Tokens)) as sampler:
        for policy in sorted({drawn.policy for drawn, _ in chosen}):
            sampler.load(policy)
            for drawn, shard in chosen:
                if drawn.policy == policy:
                    yield _compare(drawn, shard, sampler, LOGPS[dtype])


def as_made(block: B, made: Mapping[str, Any]) -> B:
    """Settle the formats of a block as where a table was made: `auto` is what it came to there.

    Args:
        block: of params.yaml.
        made: the table's provenance, which has formats under the names that the block has.
    """
    came_to = {name: made.get(name) for name, value in block if value == "auto"}
    known = {name: dtype for name, dtype in came_to.items() if dtype in get_args(fields.Dtype)}
    return settle(block.model_copy(update=known))


def some(everything: Sequence[T], count: int, seed: int) -> list[T]:
    """Choose so many at random, all there are at most."""
    return random.Random(seed).sample(everything, min(count, len(everything)))


def iterations(run: Path) -> Iterator[CheckedIteration]:
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
    return (CheckedIteration(reader, key, settings) for key in keys)


def _drawn(of: CheckedIteration) -> Iterator[Draws]:
    """List an iteration's tables of drawn responses, if it is active."""
    settings = of.settings
    if of.began:
        yield from _sampled(of)
        yield from _duelled(of)
        plan = plan_of(*previous_draw(of.key, settings), 1, settings.answer, settings)
        anchor = of.run.folder / "0" if settings.answer.against == "base" else of.before
        table, policy = tables.PREVIOUS_ANSWERS, anchor / "policy"
        yield Draws(of.path(table), table, policy, of.run.split("reward"), plan)
    if of.active:
        policy, count = of.here / "policy", settings.eval.responses_per_prompt
        if of.t:
            plan = plan_of("answer", of.t, 1, settings.answer, settings)
            asked = of.run.split("reward")
            yield Draws(of.path(tables.ANSWERS), tables.ANSWERS, policy, asked, plan)
        plan = plan_of("eval", 0, count, settings.eval, settings)
        path = of.path(tables.GENERATIONS)
        yield Draws(path, tables.GENERATIONS, policy, of.run.split("eval"), plan)


def _sampled(of: CheckedIteration) -> Iterator[Draws]:
    """The responses, unless they were given."""
    sample = params.load(blocks.Sample, of.key)
    if sample.source == "given":
        return
    plan = plan_of("sample", of.t, sample.responses_per_prompt, sample, of.settings)
    path, policy = of.path(tables.RESPONSES), of.before / "policy"
    yield Draws(path, tables.RESPONSES, policy, of.policy_prompts(), plan)


def _duelled(of: CheckedIteration) -> Iterator[Draws]:
    """The responses of pi_{t-1}, which stand beside each candidate's, and the candidates'."""
    settings, prompts = of.settings.duel, of.run.split("selection")
    candidates, previous = (
        plan_of(stage, of.t, settings.responses_per_prompt, settings, of.settings)
        for stage in seeds_of(settings.draws)
    )
    checkpoints = of.here / "checkpoints"
    steps = read_steps(checkpoints)
    policies = [(of.before / "policy", previous, steps[0], "previous_")]
    policies += [(checkpoints / STEP.format(step), candidates, step, "") for step in steps]
    for policy, plan, step, prefix in policies:
        yield Draws(of.path(tables.DUELS), tables.DUELS, policy, prompts, plan, step, prefix)


def _compare(drawn: Draws, shard: int, sampler: Sampler, tolerance: float) -> Redrawn:
    again = shards.redraw(sampler, drawn.prompts, drawn.plan, shard)
    rows = drawn.stored()
    stored = rows.filter(pc.is_in(rows["prompt_id"], pc.unique(again["prompt_id"])))
    if len(stored) != len(again):
        return Redrawn(drawn.path, shard, len(again), 0, False, 0.0, tolerance)
    pairs = zip(stored["token_ids"].to_pylist(), again["token_ids"].to_pylist(), strict=True)
    same = np.array([a == b for a, b in pairs])
    equal = all(
        stored[name].combine_chunks().equals(again[name].combine_chunks())
        for name in ("response", "finish_reason", "logprob", "seed")
        if name in stored.column_names
    )
    bit_equal, apart = bool(same.all() and equal), _apart(stored, again, same)
    return Redrawn(drawn.path, shard, len(again), int(same.sum()), bit_equal, apart, tolerance)


def _apart(stored: pa.Table, again: pa.Table, same: NDArray[np.bool_]) -> float:
    """Give the largest difference of log-probs among responses with the same tokens, in nats."""
    if "logprob" not in stored.column_names:
        return 0.0
    return furthest(*(table["logprob"].to_numpy()[same] for table in (stored, again)))


def furthest(stored: Floats, again: Floats) -> float:
    """Give the largest difference; NaN is at 0 from NaN, and infinitely far from a number."""
    both = np.isnan(stored) & np.isnan(again)
    apart = np.where(both, 0.0, np.abs(stored - again))
    return float(np.where(np.isnan(apart), np.inf, apart).max(initial=0.0))
