"""Attention over packed rows: every group attends to itself alone, in one batched call.

A packed row is one sequence for all that works token by token, and a batch of padded groups for
attention, whose cost would otherwise grow with the square of the row. What all groups begin with is
in the row once, and in each of the padded groups. With a mask of blocks it is flex_attention over
the row as it is. Registered with transformers as `packed_sdpa`; without a layout it is its plain
`sdpa`.
"""

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, flex_attention
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "packed_sdpa"
SHORT = 1024


class Layout(NamedTuple):
    """Where the tokens of a row stand in the padded groups.

    gather: token of each place (any token for padding), shape (G * longest,). place: place of
    each token, in the first group for those that all begin with, shape (L,). groups: G. shared:
    how many tokens all groups begin with; they are the row's first.
    """

    gather: Tensor
    place: Tensor
    groups: int
    shared: int


class _Spread(torch.autograd.Function):
    """Rows of tokens (L, ...) to rows of places (G * longest, ...).

    Tokens that all groups begin with go to every group; their gradients are summed over them.
    """

    @staticmethod
    def forward(ctx: Any, rows: Tensor, layout: Layout) -> Tensor:
        ctx.layout = layout
        return rows.index_select(0, layout.gather)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        _, place, groups, shared = ctx.layout
        found = grad.index_select(0, place)
        if shared:
            by_group = grad.view(groups, -1, *grad.shape[1:])
            found[:shared] = by_group[:, :shared].sum(dim=0)
        return found, None


class _Collect(torch.autograd.Function):
    """Rows of places back to rows of tokens; padding has no gradient."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, place: Tensor) -> Tensor:
        ctx.save_for_backward(place)
        ctx.places = len(rows)
        return rows.index_select(0, place)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (place,) = ctx.saved_tensors
        spread = grad.new_zeros(ctx.places, *grad.shape[1:])
        return spread.index_copy_(0, place, grad), None


def attend(
    module: torch.nn.Module, query: Tensor, key: Tensor, value: Tensor,
    attention_mask: Tensor | BlockMask | None, scaling: float | None = None,
    layout: Layout | None = None, dropout: float = 0.0, **others: Any,
) -> tuple[Tensor, None]:  # fmt: skip
    """Attend within groups, as transformers' attention functions do.

    Args:
        module: the layer's attention.
        query: shape (1, heads, L, size).
        key: shape (1, key-value heads, L, size).
        value: as key.
        attention_mask: True where a place sees another, shape (G, 1, longest, longest); or one of
            blocks over the row.
        scaling: of the scores.
        layout: of the row's groups; None for plain attention.
        dropout: of plain attention; packed rows have none.
        others: passed to plain attention.

    Returns:
        Shape (1, L, heads, size), and no weights.
    """
    if isinstance(attention_mask, BlockMask):
        return _flex(query, key, value, attention_mask, scaling), None
    if layout is None:
        if query.shape[2] == 1 and query.device.type == "cpu" and not torch.is_grad_enabled():
            return _one(query, key, value, attention_mask, scaling), None
        return sdpa_attention_forward(  # type: ignore[no-any-return]
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **others
        )
    assert attention_mask is not None
    repeats = query.shape[1] // key.shape[1]
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    own = _grouped(query, layout)
    keys, values = (repeat_kv(_grouped(states, layout), repeats) for states in (key, value))
    where = query.device.type
    if where == "cpu" and torch.is_autocast_enabled(where) and own.shape[2] <= SHORT:
        found = _short(own, keys, values, attention_mask, scale)
    else:
        found = scaled_dot_product_attention(
            own, keys, values, attn_mask=attention_mask, scale=scale
        )
    found = found.transpose(1, 2)
    if layout.groups == 1:
        return found.contiguous(), None
    rows = found.reshape(-1, *found.shape[2:])
    return _Collect.apply(rows, layout.place)[None], None  # type: ignore[no-untyped-call]


@cache
def compiled() -> Callable[..., Tensor]:
    """Compile flex_attention, once a process: uncompiled it makes all scores at once."""
    kernel: Callable[..., Tensor] = torch.compile(flex_attention)
    return kernel


def _flex(
    query: Tensor, key: Tensor, value: Tensor, mask: BlockMask, scaling: float | None
) -> Tensor:
    """Attend over a row by flex_attention: blocks where nobody sees anybody cost nothing."""
    heads, shared, where = query.shape[1], key.shape[1], query.device.type
    kind = torch.get_autocast_dtype(where) if torch.is_autocast_enabled(where) else value.dtype
    query, key, value = query.to(kind), key.to(kind), value.to(kind)  # autocast knows SDPA alone
    sharing = heads.bit_count() == 1  # its kernels share keys among a power of two of heads
    if not sharing:
        key, value = (repeat_kv(states, heads // shared) for states in (key, value))
    found = compiled()(
        query, key, value, block_mask=mask, scale=scaling, enable_gqa=sharing and heads != shared
    )
    return found.transpose(1, 2).contiguous()


def _short(query: Tensor, key: Tensor, value: Tensor, mask: Tensor, scale: float) -> Tensor:
    """Attend by two matrix products in bfloat16.

    On a CPU the fused kernel took about three times as long on short sequences: 17.6 ms against
    6.0 ms forward and backward, 5 sequences of 130 tokens, 9 heads, 2 cores. Scores and shares
    are rounded to bfloat16, where the fused kernel keeps them in float32.
    """
    kind = torch.get_autocast_dtype("cpu")
    with torch.autocast("cpu", enabled=False):
        scores = torch.matmul((query * scale).to(kind), key.to(kind).transpose(2, 3))
        shares = scores.masked_fill(~mask, torch.finfo(kind).min).softmax(dim=3)
        return torch.matmul(shares, value.to(kind))


def _one(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scaling: float | None
) -> Tensor:
    """Attend from one token a row, as sampling does: query heads beside the keys they share.

    On a CPU the fused kernel took about five times as long, with the copies of keys and values
    it needs: 6.2 ms against 1.3 ms, 66 rows, 90 tokens so far, bfloat16, 2 cores.
    """
    rows, heads, _, size = query.shape
    scale = size**-0.5 if scaling is None else scaling
    own = query.reshape(rows, key.shape[1], -1, size)
    scores = torch.matmul(own, key.transpose(2, 3)).float() * scale
    if mask is not None:
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    found = torch.matmul(scores.softmax(dim=3).to(value.dtype), value)
    return found.reshape(rows, 1, heads, size)


def _grouped(states: Tensor, layout: Layout) -> Tensor:
    """(1, heads, L, size) to (G, heads, longest, size)."""
    if layout.groups == 1:
        return states
    rows = states[0].transpose(0, 1)
    spread = _Spread.apply(rows, layout)  # type: ignore[no-untyped-call]
    grouped: Tensor = spread.view(layout.groups, -1, *rows.shape[1:]).transpose(1, 2)
    return grouped


AttentionInterface.register(NAME, attend)
AttentionMaskInterface.register(NAME, sdpa_mask)
