"""Duels on D_MS: one engine answers for every checkpoint, on the same seeds; r_{t-1} judges."""

from pathlib import Path

import numpy as np
import pyarrow as pa

from mutual_taught.artifacts import joins, tables
from mutual_taught.artifacts.manifests import STEP, read_manifest, read_steps
from mutual_taught.config.blocks import Duel, Engine, Score, Tokens
from mutual_taught.errors import InputError
from mutual_taught.method.selection import judge_duels
from mutual_taught.sampling.shards import draw, make_plan
from mutual_taught.sampling.start import start_engine
from mutual_taught.scoring import shards
from mutual_taught.scoring.start import start_scorer


def duel(
    checkpoints: Path,
    policy: Path,
    reward_model: Path,
    prompts: pa.Table,
    iteration: int,
    settings: Duel,
    engine: Engine,
    score: Score,
    tokens: Tokens,
    seed: int,
) -> tuple[pa.Table, dict[str, object]]:
    """Let every checkpoint and pi_{t-1} answer every selection prompt once.

    Returns:
        Rows of `duels`, and what they were made from.

    Raises:
        InputError: there is no checkpoint.
    """
    steps = read_steps(checkpoints)
    if not steps:
        raise InputError(f"{checkpoints}: holds no checkpoint; expected at least one")
    folders = [policy, *(checkpoints / STEP.format(step) for step in steps)]
    plan = make_plan("duel", iteration, seed, 1, settings, engine, tokens)
    with start_engine(engine, plan.context, tokens) as running:
        drawn = [
            draw(folder, prompts, plan, running, f"duel@{iteration}-{folder.name}")[0]
            for folder in folders
        ]
    split = Path("the selection split")
    ids = sorted(prompts["prompt_id"].to_pylist())
    answers = [joins.align(table, ids, split) for table in drawn]
    texts = [table["response"].to_pylist() for table in answers]
    asked = shards.together(ids, texts, prompts, split)
    with start_scorer(score, engine.workers, tokens) as scorer:
        name = f"duel@{iteration}-rewards"
        scored = shards.score_all(scorer, reward_model, asked, tokens, name)
    rewards = shards.spread(scored, ids, len(texts))
    rows = pa.concat_tables(
        [
            _rows(step, answers[place], answers[0], rewards[:, place], rewards[:, 0])
            for place, step in enumerate(steps, 1)
        ]
    )
    fought = judge_duels(
        rows["reward"].to_numpy(), rows["previous_reward"].to_numpy(), np.tile(ids, len(steps))
    )
    rows = rows.append_column("outcome", tables.numbers(fought.outcomes))
    rows = rows.append_column("reason", [fought.reasons])
    made_from: dict[str, object] = {
        "policies": [read_manifest(folder).digest for folder in folders],
        "reward_model": read_manifest(reward_model).digest,
        "prompts": tables.rows_digest(prompts.select(["prompt_id", "messages"])),
        "duel": settings.model_dump(),
        "max_length": tokens.max_length,
        "seed": seed,
        "dtype": running.settings.dtype,
        "partition": engine.partition,
        **engine.decides(),
    }
    return rows, made_from


def _rows(
    step: int, own: pa.Table, previous: pa.Table, reward: np.ndarray, previous_reward: np.ndarray
) -> pa.Table:
    return pa.table(
        {
            "step": np.full(len(own), step),
            "prompt_id": own["prompt_id"],
            "response": own["response"],
            "previous_response": previous["response"],
            "token_ids": own["token_ids"],
            "previous_token_ids": previous["token_ids"],
            "finish_reason": own["finish_reason"],
            "previous_finish_reason": previous["finish_reason"],
            "reward": tables.numbers(reward),
            "previous_reward": tables.numbers(previous_reward),
        }
    )
