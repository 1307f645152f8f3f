"""Scoring: a reward model over prompts with their responses, packed."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from mutual_taught.models.load import RewardModel, device
from mutual_taught.models.packed.forward import packed_rewards
from mutual_taught.models.packed.rows import Group, fill
from mutual_taught.terminal.progress import Counted, ignore

Rewards = list[NDArray[np.float64]]


@torch.inference_mode()
def score(
    reward_model: RewardModel, groups: Sequence[Group], budget: int, seen: Counted = ignore
) -> Rewards:
    """Score every response of a shard.

    Groups of similar sizes share a packed row, so the rows depend only on the shard. A reward is
    the head's output at the last token of a branch: that of the conversation with its response
    which is not the padding token, as transformers and TRL read it (`tokenise` leaves out what
    follows).

    Args:
        reward_model: r.
        groups: of `tokenise`, in order of prompt id, which decides between equal sizes.
        budget: tokens a packed row (one group may exceed it).
        seen: told after every row of how many rewards it gave.

    Returns:
        Rewards (logits), one array of shape (responses,) a group, in order.
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
