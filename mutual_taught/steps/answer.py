"""Stages answer and answer_base on tables: answers to D_M, and their rewards under r_{t-1}."""

from pathlib import Path

import pyarrow as pa

from mutual_taught.artifacts import joins, tables
from mutual_taught.config.blocks import Answer, Engine, Tokens
from mutual_taught.sampling.shards import Drawn, draw, make_plan
from mutual_taught.sampling.start import start_engine
from mutual_taught.scoring.scorer import Scorer
from mutual_taught.scoring.shards import Scored, made_from, score_all, spread, together


def answer(
    policy: Path,
    prompts: pa.Table,
    iteration: int,
    settings: Answer,
    engine: Engine,
    tokens: Tokens,
    seed: int,
) -> Drawn:
    """Draw one answer to each prompt of the reward split.

    Returns:
        Rows of `answers`, and what they were made from.
    """
    plan = make_plan("answer", iteration, seed, 1, settings, engine, tokens)
    with start_engine(engine, plan.context, tokens) as running:
        drawn, made_from = draw(policy, prompts, plan, running, f"answer@{iteration}")
    return drawn.select(list(tables.ANSWERS.columns)), made_from


def answer_rewards(
    scorer: Scorer,
    answers: pa.Table,
    previous: pa.Table,
    previous_path: Path,
    reward_model: Path,
    prompts: pa.Table,
    tokens: Tokens,
    name: str,
) -> Scored:
    """Score pi_t's and pi_{t-1}'s answers to the reward prompts under r_{t-1}.

    Returns:
        Rows of `answer_rewards`, and what they were made from.
    """
    ids = sorted(answers["prompt_id"].to_pylist())
    own = joins.align(answers, ids, previous_path)["response"].to_pylist()
    before = joins.align(previous, ids, previous_path)["response"].to_pylist()
    asked = together(ids, [own, before], prompts, previous_path)
    scored = score_all(scorer, reward_model, asked, tokens, name)
    both, why = (spread(scored, ids, 2, name) for name in ("reward", "reason"))
    rows: dict[str, object] = {"prompt_id": ids}
    for side, prefix in enumerate(("", "previous_")):
        rows[f"{prefix}reward"] = tables.numbers(both[:, side])
        rows[f"{prefix}reason"] = why[:, side]
    inputs = {"answers": answers, "previous_answers": previous}
    return pa.table(rows), made_from(reward_model, scorer, tokens, **inputs)
