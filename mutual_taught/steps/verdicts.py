"""Who wins a duel, on tables: r_{t-1} judges, or programs do, or a language model."""

from pathlib import Path

import numpy as np
import pyarrow as pa

from mutual_taught.artifacts import tables
from mutual_taught.evaluation import gold_tables
from mutual_taught.method.selection import Judge, judge_duels
from mutual_taught.steps import model_verdicts


def judged(duels: pa.Table, prompts: pa.Table, judge: Judge, path: Path) -> pa.Table:
    """Judge duels by rewards, by gold, or by a language model's stored replies.

    Gold is how far responses follow their prompt's instructions. Every response has it, also one
    without a reward, so gold leaves no prompt out. A language model prefers the candidate's
    response where the mean over both orders is above one half; a duel without both verdicts leaves
    its prompt out, as one without a reward does.

    Args:
        duels: rows of `duels` with both texts and rewards, and of a language model the replies.
        prompts: table `prompts` of the selection split.
        judge: who judges.
        path: where the prompts were read from, for messages.

    Returns:
        `outcome` and `reason` of each row; where gold judges `gold` and `previous_gold`, where a
        language model does `preference`.

    Raises:
        InputError: gold is to judge, and a prompt has no instructions.

    Source: Mutual-Taught, model selection (equations 6 and 7); other judges are ours.
    """
    own, previous = (duels[name].to_numpy() for name in ("reward", "previous_reward"))
    added: dict[str, object] = {}
    if judge == "verifiable":
        own, previous = gold_tables.of_both(duels, prompts, path)
        added = {"gold": own, "previous_gold": previous}
    if judge == "openai":
        own = model_verdicts.preferences(duels)
        previous = np.full(len(own), model_verdicts.EVEN)
        added = {"preference": tables.numbers(own)}
    found = judge_duels(own, previous, duels["prompt_id"].to_numpy(zero_copy_only=False))
    return pa.table(
        {
            "outcome": tables.numbers(found.outcomes),
            "reason": pa.array(found.reasons, tables.TEXT),
            **added,
        }
    )
