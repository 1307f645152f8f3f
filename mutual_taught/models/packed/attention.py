"""Attention that transformers calls by name: over packed rows, over one token, with a cap.

`packed_sdpa` is registered with transformers. Within a packed row it attends piece by piece
(pieces.py), or by flex_attention over the row as it is, where the mask is one of blocks. Outside of
packed rows it is transformers' plain `sdpa`, with the cap on scores that some models have.

In shapes, L are the tokens of a row; `shared` is the number of key-value heads.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, flex_attention
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from mutual_taught.models.packed import pieces
from mutual_taught.models.packed.pieces import Layout

NAME = "packed_sdpa"  # transformers refuses what has no "sdpa" by this name, e.g. attention sinks
SIGN = torch.uint8  # of the mask that stands for a row's layout; those of transformers are others


class LayoutLostError(RuntimeError):
    """A model attends in a way of its own: a row's layout does not decide who sees whom."""


class _Reading:
    """The packed row that is being read, or was read last.

    No argument of a model: some decoders drop those they do not know. It stays after the forward
    pass because gradient checkpointing makes parts of that again on the way back, in a thread of
    autograd's; hence no context variable, and a thread's own only where it asked for one.
    """

    layout: Layout | None = None
    mask: Tensor | BlockMask | None = None
    open = False
    attended = 0


_everybodys, _own = _Reading(), threading.local()


def read_apart() -> None:
    """Give this thread, which does not train, rows of its own: others read at the same time."""
    _own.row = _Reading()


def _reading() -> _Reading:
    row: _Reading = getattr(_own, "row", _everybodys)
    return row


@contextmanager
def reading(layout: Layout | None, mask: Tensor | BlockMask) -> Iterator[None]:
    """Let a model's forward pass attend as a packed row does.

    Args:
        layout: who sees whom; None where the mask says it in blocks.
        mask: of the row, which every layer is given in place of its own.

    Raises:
        LayoutLostError: a layer attended in another way, or none attended by this module.
    """
    row = _reading()
    row.layout, row.mask, row.open, row.attended = layout, mask, True, 0
    try:
        yield
    finally:
        row.open = False
    if not row.attended:
        raise LayoutLostError("its layers do not attend by transformers' attention interface")


def _mask(*arguments: Any, **options: Any) -> Tensor | BlockMask | None:
    """Give the mask of the row that is being read; outside of one, that of sdpa."""
    row = _reading()
    if row.open:
        return row.mask
    made: Tensor | None = sdpa_mask(*arguments, **options)
    return made


def attend(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | BlockMask | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    softcap: float | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """Attend as transformers' attention functions do; within the pieces of a packed row.

    Args:
        module: the layer's attention.
        query: shape (N, heads, L, size); N is 1 in a packed row.
        key: shape (N, key-value heads, M, size).
        value: as key; its size may be another.
        attention_mask: of plain attention; or one that stands for the row that `reading` names.
        scaling: of the scores.
        dropout: of plain attention; packed rows have none.
        softcap: c of c tanh(score / c), which some models bend their scores by; None for none.
        others: passed to plain attention.

    Returns:
        Shape (N, L, heads, size of value), and no weights.

    Raises:
        LayoutLostError: a packed row is being read, and the layer made another mask.
    """
    row = _reading()
    if isinstance(attention_mask, BlockMask):
        row.attended += 1
        return _flex(query, key, value, attention_mask, scaling, softcap), None
    if attention_mask is not None and attention_mask.dtype == SIGN:
        row.attended += 1
        if row.layout is None or len(row.layout.place) != query.shape[2]:
            raise LayoutLostError("it attends over something else than the row's tokens")
        return attend_row(query, key, value, row.layout, scaling, softcap), None
    if row.open:
        raise LayoutLostError("its attention has a mask or bias of its own")
    if query.shape[2] == 1 and not torch.is_grad_enabled():
        if query.device.type == "cpu" or softcap is not None:
            return _one(query, key, value, attention_mask, scaling, softcap), None
        return attend_one(query, key, value, attention_mask, scaling), None
    if softcap is not None:
        return _bent(query, key, value, attention_mask, scaling, softcap), None
    return sdpa_attention_forward(  # type: ignore[no-any-return]
        module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **others
    )


def attend_row(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    layout: Layout,
    scaling: float | None = None,
    softcap: float | None = None,
) -> Tensor:
    """Attend within the pieces of a packed row: shapes and arguments of `attend`."""
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    kind = _kind(value)
    rows = (states[0].transpose(0, 1).to(kind) for states in (query * scale, key, value))
    return pieces.Attend.apply(*rows, layout, softcap)[None]  # type: ignore[no-any-return, no-untyped-call]


def attend_one(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scaling: float | None = None
) -> Tensor:
    """Attend from one token a row by the fused kernel, without copies of keys and values.

    With a mask, transformers first repeats both for every query head: (heads / key heads) times
    what the cache holds of a layer, made anew at every token. Here the query heads that share a
    key head are laid beside each other as if they were more tokens of it, which one token a row
    allows: all of them see the same keys.

    Args:
        query: shape (N, heads, 1, size).
        key: shape (N, key heads, M, size).
        value: as key; its size may be another.
        mask: True, or a number to add, for each key; shape (N or 1, 1, 1, M).
        scaling: of the scores.

    Returns:
        Shape (N, 1, heads, size of value).
    """
    rows, heads, _, size = query.shape
    own = query.reshape(rows, key.shape[1], -1, size)  # (N, key heads, heads / key heads, size)
    found = scaled_dot_product_attention(own, key, value, mask, scale=scaling)
    return found.reshape(rows, 1, heads, value.shape[-1])


def _kind(value: Tensor) -> torch.dtype:
    """Name the format to multiply in, because autocast knows neither of our ways to attend."""
    where = value.device.type
    return torch.get_autocast_dtype(where) if torch.is_autocast_enabled(where) else value.dtype


@cache
def compiled() -> Callable[..., Tensor]:
    """Compile flex_attention, once a process: uncompiled it makes all scores at once."""
    kernel: Callable[..., Tensor] = torch.compile(flex_attention)
    return kernel


@cache
def _bend(cap: float) -> Callable[..., Tensor]:
    """Make what caps scores in flex_attention's kernels: one function a cap, compiled once."""

    def bend(score: Tensor, *_: Tensor) -> Tensor:
        return cap * torch.tanh(score / cap)

    return bend


def _flex(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: BlockMask,
    scaling: float | None,
    softcap: float | None,
) -> Tensor:
    """Attend over a row by flex_attention: blocks where nobody sees anybody cost nothing."""
    heads, shared, kind = query.shape[1], key.shape[1], _kind(value)
    query, key, value = query.to(kind), key.to(kind), value.to(kind)
    sharing = heads.bit_count() == 1  # its kernels share keys among a power of two of heads
    if not sharing:
        key, value = (repeat_kv(states, heads // shared) for states in (key, value))
    bend = {} if softcap is None else {"score_mod": _bend(softcap)}
    found = compiled()(
        query,
        key,
        value,
        block_mask=mask,
        scale=scaling,
        enable_gqa=sharing and heads != shared,
        **bend,
    )
    return found.transpose(1, 2).contiguous()


def _one(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    scaling: float | None,
    softcap: float | None,
) -> Tensor:
    """Attend from one token a row, as sampling does: query heads beside the keys they share.

    On a CPU the fused kernel took about five times as long, with the copies of keys and values
    it needs: 6.2 ms against 1.3 ms, 66 rows, 90 tokens so far, bfloat16, 2 cores.
    """
    rows, heads, _, size = query.shape
    scale = size**-0.5 if scaling is None else scaling
    # (rows, heads, 1, size) to (rows, key heads, heads / key heads, size): heads become queries.
    own = query.reshape(rows, key.shape[1], -1, size)
    if key.dtype == torch.float32:
        scores = torch.matmul(own, key.transpose(2, 3))
    else:  # keys laid out the other way would be copied
        scores = torch.matmul(key, own.transpose(2, 3)).transpose(2, 3)
    scores = scores.float() * scale
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    found = torch.matmul(_masked(scores, mask).softmax(dim=3).to(value.dtype), value)
    return found.reshape(rows, 1, heads, value.shape[-1])


def _bent(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    scaling: float | None,
    softcap: float,
) -> Tensor:
    """Attend with capped scores, which the fused kernels of sdpa leave out in silence.

    Without a mask a query sees what stands before it: rows without padding.
    """
    heads, shared = query.shape[1], key.shape[1]
    key, value = (repeat_kv(states, heads // shared) for states in (key, value))
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    scores = torch.matmul(query, key.transpose(2, 3)).float() * scale
    scores = softcap * torch.tanh(scores / softcap)
    if mask is None:
        length, seen = scores.shape[-2:]
        mask = torch.ones(length, seen, dtype=torch.bool, device=scores.device).tril(seen - length)
    found = torch.matmul(_masked(scores, mask).softmax(dim=3).to(value.dtype), value)
    return found.transpose(1, 2).contiguous()


def _masked(scores: Tensor, mask: Tensor | None) -> Tensor:
    """Hide scores where a mask is False, or add it where it is one of numbers."""
    if mask is None:
        return scores
    if mask.dtype == torch.bool:
        return scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    return scores + mask


AttentionInterface.register(NAME, attend)
AttentionMaskInterface.register(NAME, _mask)
