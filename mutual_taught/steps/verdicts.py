"""Who wins a duel, on tables: r_{t-1} judges, or programs do."""

from pathlib import Path

import pyarrow as pa

from mutual_taught.artifacts import tables
from mutual_taught.evaluation import gold_tables
from mutual_taught.method.selection import Judge, judge_duels


def judged(duels: pa.Table, prompts: pa.Table, judge: Judge, path: Path) -> pa.Table:
    """Judge duels by rewards, or by gold: how far answers follow their prompt's instructions.

    Every answer has gold, also one without a reward, so gold leaves no prompt out.

    Args:
        duels: rows of `duels` with both texts and rewards.
        prompts: table `prompts` of the selection split.
        judge: who judges.
        path: where the prompts were read from, for messages.

    Returns:
        `outcome` and `reason` of each row, and where gold judges `gold` and `previous_gold`.

    Raises:
        InputError: gold is to judge, and a prompt has no instructions.

    Source: Mutual-Taught, model selection (equations 6 and 7); gold as the judge is ours.
    """
    own, previous = (duels[name].to_numpy() for name in ("reward", "previous_reward"))
    added: dict[str, object] = {}
    if judge == "verifiable":
        own, previous = gold_tables.of_both(duels, prompts, path)
        added = {"gold": own, "previous_gold": previous}
    found = judge_duels(own, previous, duels["prompt_id"].to_numpy(zero_copy_only=False))
    return pa.table(
        {
            "outcome": tables.numbers(found.outcomes),
            "reason": pa.array(found.reasons, tables.TEXT),
            **added,
        }
    )
