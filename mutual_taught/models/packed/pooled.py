"""Rewards of rows: the head at the places where branches end."""

from types import MethodType

import torch
from torch import Tensor, nn
from torch.nn.functional import linear
from transformers import PreTrainedModel


def scores_packed(model: PreTrainedModel) -> PreTrainedModel:
    """Make a sequence classifier's forward pass that of rows, pooled where branches end.

    It must be the model's own forward pass, and the head's: what shards weights over processes
    (FSDP, ZeRO) gathers them there.
    """
    model.forward = MethodType(_rewards, model)
    model.score.forward = MethodType(_head, model.score)
    return model


def _head(self: nn.Linear, hidden: Tensor) -> Tensor:
    """Multiply hidden states, shape (N, width), with the head in float32; rewards, shape (N, 1).

    Whatever format the model has: bfloat16 has 8 significant bits, so that rewards near 1 would
    fall on multiples of 1/128, and many that differ would tie.
    """
    bias = None if self.bias is None else self.bias.float()
    with torch.autocast(hidden.device.type, enabled=False):
        return linear(hidden.float(), self.weight.float(), bias)


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
    rewards: Tensor = self.score(hidden[last])
    return rewards.squeeze(-1)
