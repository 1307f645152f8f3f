"""Stage answer on tables: rewards of both policies' answers to D_M."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from mutual_taught.artifacts import joins, tables
from mutual_taught.config.blocks import Tokens
from mutual_taught.method.reuse import reuse_shift
from mutual_taught.scoring.scorer import Scorer
from mutual_taught.scoring.shards import Scored, made_from, score_all, spread, together


class AnswerInputs(NamedTuple):
    """What is scored: both policies' answers, where pi_{t-1}'s stand, and the reward prompts."""

    answers: pa.Table
    previous: pa.Table
    previous_path: Path
    prompts: pa.Table


def answer_rewards(
    scorer: Scorer, inputs: AnswerInputs, reward_model: Path, tokens: Tokens, name: str
) -> Scored:
    """Score pi_t's and pi_{t-1}'s answers to the reward prompts under a reward model.

    Returns:
        Rows of `answer_rewards`, and what they were made from.
    """
    answers, previous, previous_path, prompts = inputs
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
    said = {"answers": answers, "previous_answers": previous}
    return pa.table(rows), made_from(reward_model, scorer, tokens, **said)


def shift(rewards: pa.Table, base_rewards: pa.Table) -> float | None:
    """Say how far r_{t-1} favours the previous answers: see `method.reuse.reuse_shift`.

    Args:
        rewards: table `answer_rewards`.
        base_rewards: the same answers' rewards under r_0.
    """
    both = (
        np.stack([table["reward"].to_numpy(), table["previous_reward"].to_numpy()], axis=1)
        for table in (rewards, base_rewards)
    )
    return reuse_shift(*both)
