"""Stage answer_previous on tables: what pi_{t-1} answers to D_M, anew or as it did before."""

from pathlib import Path

import pyarrow as pa

from mutual_taught.artifacts import tables
from mutual_taught.config.blocks import Answer, Drawing
from mutual_taught.sampling.shards import Drawn, make_plan
from mutual_taught.steps.single_answers import single_answers


def answer_previous(
    policy: Path,
    stored: pa.Table,
    prompts: pa.Table,
    iteration: int,
    settings: Answer,
    drawing: Drawing,
) -> Drawn:
    """Give y_{t-1}, pi_{t-1}'s answer to each prompt of the reward split.

    r_{t-1} was trained on the answers that iteration t - 1 stored, as chosen ones, so it may favour
    these very texts: they are drawn anew, with seeds of their own, unless `previous` is `reuse`.
    pi_0 has no stored answers, so those of t = 1 are drawn either way.

    Args:
        policy: folder of pi_{t-1}; of pi_0 where settings say `against: base`.
        stored: table `answers` of iteration t - 1; of iteration 0 without rows.
        prompts: table `prompts` of the reward split.
        iteration: t, from 1.
        settings: how they are drawn, and whether.
        drawing: engine, limits and the run's seed.

    Returns:
        Rows of `previous_answers`, and what they were made from.

    Source: Mutual-Taught, M-step: pi_t and pi_{t-1} answer the prompts of D_M. Answers of pi_0
    instead are ours.
    """
    if settings.previous == "reuse" and len(stored):
        return stored, tables.provenance(stored)
    plan = make_plan("answer_previous", iteration, 1, settings, drawing)
    drawn, made_from = single_answers(policy, prompts, plan, drawing)
    return drawn, {**made_from, **({"against": "base"} if settings.against == "base" else {})}
