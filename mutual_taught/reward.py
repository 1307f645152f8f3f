"""Scoring: a reward model over prompts with their answers, packed."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from mutual_taught.chat import scored_tokens
from mutual_taught.errors import InputError
from mutual_taught.keys import Message
from mutual_taught.models import RewardModel, device, packed_rewards
from mutual_taught.packing import fill, share_prefix
from mutual_taught.progress import bar


def score(
    reward_model: RewardModel,
    conversations: Sequence[Sequence[Message]],
    responses: Sequence[Sequence[str]],
    budget: int,
    max_length: int,
) -> list[NDArray[np.float64]]:
    """Score every response to every conversation.

    The answers to one conversation share its tokens in a packed row; a reward is the head's
    output at the last token of the conversation with its answer, whatever that token is.

    Args:
        reward_model: r.
        conversations: x, each ending with a user turn.
        responses: for each conversation its answers' texts, at least one.
        budget: tokens a packed row (one conversation may exceed it).
        max_length: tokens a conversation with its answer may have.

    Returns:
        Rewards (logits), one array of shape (answers,) a conversation, in order.

    Raises:
        InputError: a conversation is too long, or a reward is not finite.
    """
    groups = []
    for messages, texts in zip(conversations, responses, strict=True):
        sequences = [scored_tokens(reward_model.tokenizer, messages, text) for text in texts]
        longest = max(map(len, sequences))
        if longest > max_length:
            raise InputError(
                f"prompt {messages[-1]['content'][:40]!r}…: {longest} tokens with its answer by "
                f"the reward model's tokenizer; expected at most tokens.max_length {max_length}; "
                "raise it, or drop the prompt"
            )
        groups.append(share_prefix(sequences))
    found: list[NDArray[np.float64]] = []
    with torch.inference_mode(), bar("score", sum(map(len, responses)), "answer") as progress:
        for run in fill(groups, (group.size for group in groups), budget):
            rewards = packed_rewards(reward_model.model, run, device()).double().cpu().numpy()
            found.extend(np.split(rewards, np.cumsum([len(g.branches) for g in run])[:-1]))
            progress.update(len(rewards))
    for messages, rewards in zip(conversations, found, strict=True):
        if not np.isfinite(rewards).all():
            raise InputError(
                f"prompt {messages[-1]['content'][:40]!r}…: reward is NaN or infinite; expected a "
                "number; try score.dtype float32, or another reward model"
            )
    return found
