"""Scoring: a reward model over prompts with their answers, packed."""

from array import array
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from mutual_taught.chat import scored_tokens
from mutual_taught.errors import InputError
from mutual_taught.keys import Message
from mutual_taught.models import RewardModel, device, packed_rewards
from mutual_taught.packing import Group, fill, read_until, share_prefix

Rewards = list[NDArray[np.float64]]


class Asked(NamedTuple):
    """A prompt, and the answers to it that are to be scored."""

    prompt_id: str
    messages: Sequence[Message]
    responses: Sequence[str]


def tokenise(tokenizer: PreTrainedTokenizerBase, asked: Asked, max_length: int) -> Group:
    """Render a prompt with each of its answers; what they begin with is kept once.

    Args:
        tokenizer: the reward model's.
        asked: the prompt, with at least one answer.
        max_length: tokens a conversation with its answer may have.

    Returns:
        A branch for every answer, in order.

    Raises:
        InputError: a conversation is too long.
    """
    sequences = [scored_tokens(tokenizer, asked.messages, text) for text in asked.responses]
    longest = max(map(len, sequences))
    if longest > max_length:
        raise InputError(
            f"prompt {asked.prompt_id}: {longest} tokens with its answer by the reward model's "
            f"tokenizer; expected at most tokens.max_length {max_length}; raise it, or drop the "
            "prompt"
        )
    # 4 bytes a token, where a list takes about 36: a stage holds those of all its answers.
    read = [read_until(tokens, tokenizer.pad_token_id) for tokens in sequences]
    return share_prefix([array("i", tokens) for tokens in read])


@torch.inference_mode()
def score(reward_model: RewardModel, groups: Sequence[Group], budget: int) -> Rewards:
    """Score every answer of a shard.

    Groups of similar sizes share a packed row, so the rows depend on the shard alone. A reward is
    the head's output at the last token of a branch: that of the conversation with its answer which
    is not the padding token, as transformers and TRL read it (`tokenise` leaves out what follows).

    Args:
        reward_model: r.
        groups: of `tokenise`, in order of prompt id, which decides between equal sizes.
        budget: tokens a packed row (one group may exceed it).

    Returns:
        Rewards (logits), one array of shape (answers,) a group, in order.
    """
    found: Rewards = [np.empty(0)] * len(groups)
    order = sorted(range(len(groups)), key=lambda place: (groups[place].size, place))
    for run in fill(order, (groups[place].size for place in order), budget):
        row = [groups[place] for place in run]
        rewards = packed_rewards(reward_model.model, row, device()).double().cpu().numpy()
        ends = np.cumsum([len(group.branches) for group in row])
        for place, part in zip(run, np.split(rewards, ends[:-1]), strict=True):
            found[place] = part
    return found
