"""Rewards of rows: the head at the places where branches end."""

from types import MethodType

import torch
from torch import Tensor
from transformers import PreTrainedModel


def scores_packed(model: PreTrainedModel) -> PreTrainedModel:
    """Make a sequence classifier's forward pass that of rows, pooled where branches end.

    It must be the model's own forward pass: what shards weights over processes (FSDP, ZeRO)
    gathers them there.
    """
    model.forward = MethodType(_rewards, model)
    return model


def _rewards(
    self: PreTrainedModel,
    input_ids: Tensor,
    last: Tensor,
    position_ids: Tensor | None = None,
    attention_mask: Tensor | None = None,
) -> Tensor:
    """Score rows of tokens, shape (N, L): the head at the places `last` among all N L, float32."""
    placed = {} if position_ids is None else {"position_ids": position_ids}
    hidden = self.base_model(
        input_ids=input_ids,
        attention_mask=attention_mask,
        use_cache=False,
        **placed,
    ).last_hidden_state.flatten(0, 1)
    # The head's margins are small: full precision.
    with torch.autocast(hidden.device.type, enabled=False):
        rewards: Tensor = self.score(hidden[last].to(self.score.weight.dtype))
    return rewards.squeeze(-1).float()
