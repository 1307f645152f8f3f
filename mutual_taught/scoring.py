"""Scoring on tables: every reward is attached by prompt id and response index."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from mutual_taught import models, preflight, reward, tables
from mutual_taught.blocks import Score, Tokens
from mutual_taught.files import read_manifest
from mutual_taught.keys import Message

Scored = tuple[pa.Table, dict[str, object]]


def rewards(
    responses: pa.Table, path: Path, reward_model: Path, prompts: pa.Table, prompts_path: Path,
    score: Score, tokens: Tokens,
) -> Scored:  # fmt: skip
    """Score all responses.

    Args:
        responses: table `responses`, sorted.
        path: where it was read from.
        reward_model: folder of r_{t-1}.
        prompts: table `prompts`.
        prompts_path: where it was read from.
        score: precision and token budget.
        tokens: limits.

    Returns:
        Rows of `rewards`, and what they were made from.
    """
    count = tables.width(responses, path)
    ids = responses["prompt_id"].to_pylist()[::count]
    texts = responses["response"].to_pylist()
    found = score_texts(
        reward_model,
        tables.align(prompts, ids, prompts_path)["messages"].to_pylist(),
        [texts[start : start + count] for start in range(0, len(texts), count)],
        score, tokens,
    )  # fmt: skip
    scored = pa.table(
        {
            "prompt_id": responses["prompt_id"],
            "response_index": responses["response_index"],
            "reward": np.concatenate(found),
        }
    )
    return scored, made_from(reward_model, score, responses=responses)


def answer_rewards(
    answers: pa.Table, previous: pa.Table, previous_path: Path, reward_model: Path,
    prompts: pa.Table, score: Score, tokens: Tokens,
) -> Scored:  # fmt: skip
    """Score pi_t's and pi_{t-1}'s answers to the reward prompts under r_{t-1}.

    Returns:
        Rows of `answer_rewards`, and what they were made from.
    """
    answers = answers.sort_by("prompt_id")
    ids = answers["prompt_id"].to_pylist()
    before = tables.align(previous, ids, previous_path)
    pairs = zip(answers["response"].to_pylist(), before["response"].to_pylist(), strict=True)
    asked = tables.align(prompts, ids, previous_path)["messages"].to_pylist()
    found = score_texts(reward_model, asked, [list(pair) for pair in pairs], score, tokens)
    both = np.array(found).reshape(-1, 2)
    scored = pa.table({"prompt_id": ids, "reward": both[:, 0], "previous_reward": both[:, 1]})
    return scored, made_from(reward_model, score, answers=answers, previous_answers=previous)


def score_texts(
    reward_model: Path, conversations: Sequence[Sequence[Message]],
    texts: Sequence[Sequence[str]], score: Score, tokens: Tokens,
) -> list[np.ndarray]:  # fmt: skip
    """Load a reward model and score every conversation's texts."""
    model = models.load_reward_model(reward_model, score.dtype)
    preflight.require(preflight.reward_model(model), reward_model)
    return reward.score(model, conversations, texts, score.token_budget, tokens.max_length)


def made_from(reward_model: Path, score: Score, **inputs: pa.Table) -> dict[str, object]:
    """Give the provenance of rewards: never how the rows were packed."""
    digest = read_manifest(reward_model).digest
    return {"reward_model": digest, "dtype": score.dtype, **tables.digests(**inputs)}
