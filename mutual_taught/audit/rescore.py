"""Score random shards of a finished run again, and compare the rewards and reference log-probs."""

import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow.compute as pc

from mutual_taught.artifacts import tables
from mutual_taught.audit import scored
from mutual_taught.audit.resample import LOGPS, Floats, as_made, furthest, iterations, some
from mutual_taught.audit.run import CheckedIteration
from mutual_taught.audit.scored import Scoring
from mutual_taught.config import blocks, fields, params
from mutual_taught.errors import InputError
from mutual_taught.models.packed.conversations import Asked
from mutual_taught.models.packed.rows import Group
from mutual_taught.models.precision import settle
from mutual_taught.scoring import shards
from mutual_taught.scoring.scorer import Scorer
from mutual_taught.scoring.start import start_scorer
from mutual_taught.steps import base_logps, reference
from mutual_taught.steps.frozen import SHARD, Frozen
from mutual_taught.steps.rank_pairs import REFERENCE
from mutual_taught.terminal.progress import ignore

# How far rewards may be apart on another kind of machine; on the same they are the same.
REWARD: Mapping[fields.Dtype, float] = {"float32": 1e-3, "bfloat16": 0.1}


class Passes(NamedTuple):
    """Log-probs of one file that a frozen policy gave in a pass of its own.

    prompts: how many; `read` gives the model, what it ran over, and the log-probs stored.
    """

    path: Path
    columns: str
    prompts: int
    read: Callable[[], tuple[Frozen, Sequence[Group], Floats]]

    def shards(self, _: int) -> int:
        """Count the shards, which are as large as those of the stage."""
        return -(-self.prompts // SHARD)


class Rescored(NamedTuple):
    """One shard scored again: how many numbers, and how far the worst is from what is stored."""

    path: Path
    columns: str
    shard: int
    numbers: int
    apart: float
    tolerance: float

    @property
    def agrees(self) -> bool:
        """Tell whether all numbers are as near as they have to be."""
        return self.apart <= self.tolerance

    def __str__(self) -> str:
        """Say it in one line."""
        verdict = f"{self.numbers} numbers, at most {self.apart:.3g} apart"
        if not self.agrees:
            verdict += f"; expected at most {self.tolerance:g}"
        return f"{self.path}: {self.columns} of shard {self.shard}: {verdict}"


def rescore(run: Path, count: int, seed: int) -> Iterator[Rescored]:
    """Score `count` shards again, chosen at random among all of the run.

    Args:
        run: folder of the run; params.yaml must be the run's.
        count: how many shards, all there are at most.
        seed: of the choice.

    Raises:
        InputError: the run holds no rewards.
    """
    listed: list[Scoring | Passes] = []
    for of in iterations(run):
        listed += [*scored.listed(of), *_measured(of)]
    size = params.load(blocks.Score).shard_size
    everything = [(at, n) for at, one in enumerate(listed) for n in range(one.shards(size))]
    if not everything:
        raise InputError(f"{run}: holds no rewards; run dvc repro first")
    chosen: dict[int, list[int]] = defaultdict(list)
    for at, shard in sorted(some(everything, count, seed)):
        chosen[at].append(shard)
    work = [(listed[at], numbers) for at, numbers in chosen.items()]
    yield from _rewards([(one, n) for one, n in work if isinstance(one, Scoring)])
    for one, numbers in work:
        if isinstance(one, Passes):
            yield from _passed(one, numbers)


def _rewards(chosen: Sequence[tuple[Scoring, list[int]]]) -> Iterator[Rescored]:
    """Score shards again, those of one reward model together."""
    if not chosen:
        return
    workers, tokens = params.load(blocks.Engine).workers, params.load(blocks.Tokens)
    with start_scorer(settle(params.load(blocks.Score)), workers, tokens) as scorer:
        for folder in sorted({scoring.reward_model for scoring, _ in chosen}):
            scorer.load(folder)
            for scoring, numbers in chosen:
                if scoring.reward_model == folder:
                    yield from _again(scorer, scoring, numbers, tokens.max_length)


def _again(
    scorer: Scorer, scoring: Scoring, numbers: Sequence[int], max_length: int
) -> Iterator[Rescored]:
    """Score shards of one file again."""
    asked, stored, follows = scoring.read()
    size, tolerance = scorer.settings.shard_size, REWARD[scorer.settings.dtype]
    for shard in numbers:
        if follows is not None:
            expected, actual = stored, follows(_scored(scorer, asked, max_length))
        else:
            these = slice(shard * size, (shard + 1) * size)
            expected, actual = stored[these], _scored(scorer, asked[these], max_length)
        apart = furthest(expected, actual)
        yield Rescored(scoring.path, scoring.columns, shard, expected.size, apart, tolerance)


def _scored(scorer: Scorer, asked: Sequence[Asked], max_length: int) -> Floats:
    """Give the rewards of responses, shape (prompts, responses), NaN where one does not fit."""
    with tempfile.TemporaryDirectory() as parts:
        scores = shards.score_prompts(scorer, asked, max_length, Path(parts), "verify")
    return np.asarray(scores["reward"].to_numpy(zero_copy_only=False).reshape(len(asked), -1))


def _measured(of: CheckedIteration) -> Iterator[Passes]:
    """List the log-probs that are of a pass of their own: DPO's reference's, and pi_0's."""
    if of.began and of.settings.rank_pairs.reference_logps == "trainer":
        kept = pc.sum(of.table(tables.RANKED_PAIRS)["kept"]).as_py()
        path = of.path(tables.RANKED_PAIRS)
        yield Passes(path, "reference log-probs", kept, partial(_of_pairs, of))
    if of.active and of.t:
        count, path = len(of.run.split("eval")), of.path(tables.GENERATIONS)
        yield Passes(path, "base_logprob", count, partial(_of_responses, of))


def _of_pairs(of: CheckedIteration) -> tuple[Frozen, Sequence[Group], Floats]:
    """Give DPO's reference, the kept pairs, and their log-probs."""
    path, ranked = of.path(tables.RANKED_PAIRS), of.table(tables.RANKED_PAIRS)
    rule = as_made(of.settings.rank_pairs, tables.provenance(ranked))
    start = of.run.folder / "0" if rule.reference == "base" else of.before
    model = reference.Reference(start / "policy", rule, of.settings.tokens)
    drawn, rewards = of.table(tables.RESPONSES), of.table(tables.REWARDS)
    pairs = reference.Pairs(ranked, drawn, rewards, of.run.split("policy"), path)
    kept = ranked.filter(ranked["kept"])
    stored = np.stack([kept[name].to_numpy() for name in REFERENCE], axis=1)
    return model.model, reference.pair_groups(pairs, kept, model), stored


def _of_responses(of: CheckedIteration) -> tuple[Frozen, Sequence[Group], Floats]:
    """Give pi_0, the responses to the eval prompts, and their log-probs under it."""
    own, settings = of.table(tables.GENERATIONS), of.settings
    engine = as_made(settings.engine, tables.provenance(own))
    drawing = blocks.Drawing(engine, settings.tokens, settings.seed)
    base = base_logps.base_policy(of.run.folder / "0" / "policy", drawing, settings.score)
    groups = base_logps.response_groups(own, of.run.split("eval"), base.folder)
    return base, groups, own["base_logprob"].to_numpy().reshape(len(groups), -1)


def _passed(one: Passes, numbers: Sequence[int]) -> Iterator[Rescored]:
    """Run a frozen policy over shards again."""
    model, groups, stored = one.read()
    measure, tolerance = model.load(), LOGPS[model.dtype]
    for shard in numbers:
        these = slice(shard * SHARD, (shard + 1) * SHARD)
        again = np.array(measure(groups[these], ignore))
        apart = furthest(stored[these], again)
        yield Rescored(one.path, one.columns, shard, again.size, apart, tolerance)
