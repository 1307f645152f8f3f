"""One answer to each prompt of the reward split, for the stages answer and answer_previous."""

from pathlib import Path

import pyarrow as pa

from mutual_taught.artifacts import tables
from mutual_taught.config.blocks import Drawing
from mutual_taught.sampling.shards import Drawn, DrawPlan, draw
from mutual_taught.sampling.start import start_sampler


def single_answers(policy: Path, prompts: pa.Table, plan: DrawPlan, drawing: Drawing) -> Drawn:
    """Draw one answer to each prompt of the reward split.

    Returns:
        Rows of `answers`, and what they were made from.
    """
    with start_sampler(drawing.engine, plan.context, drawing.tokens) as running:
        name = f"{plan.stage}@{plan.iteration}"
        drawn, made_from = draw(policy, prompts, plan, running, name)
    return drawn.select(list(tables.ANSWERS.columns)), made_from
