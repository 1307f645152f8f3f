"""Scoring: a reward model over prompts with their answers, packed."""

import sys
from array import array
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from mutual_taught.chat import scored_tokens
from mutual_taught.errors import InputError, RefusedError
from mutual_taught.keys import Message
from mutual_taught.models import RewardModel, device, packed_rewards
from mutual_taught.packing import Group, Tokens, fill, read_until, share_prefix
from mutual_taught.progress import Counted, ignore
from mutual_taught.tables import REFUSED, TOO_LONG

Rewards = list[NDArray[np.float64]]


class Asked(NamedTuple):
    """A prompt, and the answers to it that are to be scored."""

    prompt_id: str
    messages: Sequence[Message]
    responses: Sequence[str]


class Fitting(NamedTuple):
    """What of a prompt's answers fits the reward model: the others are not scored.

    group: a branch for each answer that is scored, in order; None if none is.
    reasons: why one is not, empty if it is; one an answer.
    """

    group: Group | None
    reasons: list[str]


def fitting(tokenizer: PreTrainedTokenizerBase, asked: Asked, max_length: int) -> Fitting:
    """Render a prompt with each of its answers; what they begin with is kept once.

    An answer fits if the whole conversation, as the template ends it, has at most `max_length`
    tokens. Nothing is cut: what does not fit has no reward. Neither has what the template refuses:
    some do so with an answer without any text.

    Args:
        tokenizer: the reward model's.
        asked: the prompt, with at least one answer.
        max_length: tokens a conversation with its answer may have.
    """
    kept, reasons = [], []
    for text in asked.responses:
        try:
            tokens = scored_tokens(tokenizer, asked.messages, text)
        except RefusedError:
            reasons.append(REFUSED)
            continue
        fits = len(tokens) <= max_length
        reasons.append("" if fits else TOO_LONG)
        kept += [tokens] * fits
    return Fitting(_together(tokenizer, kept) if kept else None, reasons)


def tokenise(
    tokenizer: PreTrainedTokenizerBase, asked: Asked, max_length: int = sys.maxsize
) -> Group:
    """Render a prompt with answers that all fit: see `fitting`.

    Raises:
        InputError: one does not.
    """
    group, reasons = fitting(tokenizer, asked, max_length)
    if group is None or any(reasons):
        raise InputError(
            f"prompt {asked.prompt_id}: an answer is {max(reasons)}; expected a conversation that "
            f"the template renders, in at most {max_length} tokens"
        )
    return group


def _together(tokenizer: PreTrainedTokenizerBase, sequences: Sequence[Tokens]) -> Group:
    # 4 bytes a token, where a list takes about 36: a stage holds those of all its answers.
    return share_prefix(
        [array("i", read_until(tokens, tokenizer.pad_token_id)) for tokens in sequences]
    )


@torch.inference_mode()
def score(
    reward_model: RewardModel, groups: Sequence[Group], budget: int, seen: Counted = ignore
) -> Rewards:
    """Score every answer of a shard.

    Groups of similar sizes share a packed row, so the rows depend on the shard alone. A reward is
    the head's output at the last token of a branch: that of the conversation with its answer which
    is not the padding token, as transformers and TRL read it (`tokenise` leaves out what follows).

    Args:
        reward_model: r.
        groups: of `tokenise`, in order of prompt id, which decides between equal sizes.
        budget: tokens a packed row (one group may exceed it).
        seen: told after every row of how many rewards it gave.

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
        seen(len(rewards))
    return found
