"""Stage score on tables: r_{t-1} scores the responses."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mutual_taught.artifacts import joins, tables
from mutual_taught.config.blocks import Tokens
from mutual_taught.scoring.scorer import Scorer
from mutual_taught.scoring.shards import Scored, by_prompt, made_from, score_all


class ScoreInputs(NamedTuple):
    """Tables `responses`, sorted, and `prompts`, each with the path it was read from."""

    responses: pa.Table
    responses_path: Path
    prompts: pa.Table
    prompts_path: Path


def rewards(
    scorer: Scorer, inputs: ScoreInputs, reward_model: Path, tokens: Tokens, name: str
) -> Scored:
    """Score all responses that fit the reward model, and the policy.

    Args:
        scorer: takes the reward model.
        inputs: what is scored.
        reward_model: folder of r_{t-1}.
        tokens: limits.
        name: of the work folder.

    Returns:
        Rows of `rewards`, and what they were made from.
    """
    responses = inputs.responses
    asked = by_prompt(*inputs)
    scored = score_all(scorer, reward_model, asked, tokens, name)
    joins.same_keys(responses, scored, tables.REWARDS, inputs.responses_path)
    scored = _without_overlong(scored, responses)
    return scored, made_from(reward_model, scorer, tokens, responses=responses)


def _without_overlong(scored: pa.Table, responses: pa.Table) -> pa.Table:
    """Take the rewards from given responses that are too long for the policy."""
    overlong = pc.equal(responses["finish_reason"], tables.TOO_LONG).to_numpy()
    values = np.where(overlong, np.nan, scored["reward"].to_numpy())
    why = np.where(overlong, tables.TOO_LONG, scored["reason"].to_numpy(zero_copy_only=False))
    keys = scored.select(list(tables.REWARDS.keys))
    return keys.append_column("reward", tables.numbers(values)).append_column(
        "reason", pa.array(why, tables.TEXT)
    )
