"""Attention over packed rows: every token is multiplied with those it may see, and few others.

A packed row is one sequence for all that works token by token. For attention it is cut into pieces,
each of which sees itself and some tokens before it: what all prefixes begin with, the rest of each
prefix, each branch. Pieces of a kind are padded to the longest and attend in one batch of matrix
products; query heads are laid beside each other on the keys they share. With a mask of blocks it is
flex_attention over the row as it is. Registered with transformers as `packed_sdpa`; without a
layout it is its plain `sdpa`.
"""

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, flex_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "packed_sdpa"  # transformers refuses what has no "sdpa" by this name, e.g. attention sinks
SCORES = 2**22  # made at a time, or those of one query


class Part(NamedTuple):
    """Pieces of a row that attend in one batch, padded to the longest.

    queries: a piece's own tokens, any for padding, shape (N, n). keys: what it sees of others, and
    its own, shape (N, m). hidden: True where a query does not see a key, shape (N, n, m).
    """

    queries: Tensor
    keys: Tensor
    hidden: Tensor


class Layout(NamedTuple):
    """How a row attends: every token is a query in one of the parts.

    place: where its result stands among the queries of all parts, padding too, shape (L,).
    """

    parts: tuple[Part, ...]
    place: Tensor


class _Attend(torch.autograd.Function):
    """Attention of rows of tokens (L, heads, size), queries scaled, part by part.

    Scores are made again on the way back: none are kept. Autocast is off, for it would act on the
    way forward alone.
    """

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, layout: Layout) -> Tensor:
        ctx.save_for_backward(query, key, value)
        ctx.layout = layout
        shared = key.shape[1]
        found = []
        with torch.autocast(query.device.type, enabled=False):
            for part in _cut(layout.parts, query.shape[1]):
                queries = _split(query, part.queries, shared)
                keys, values = (_split(rows, part.keys, shared) for rows in (key, value))
                shares = _shares(queries, keys, part.hidden).to(values.dtype)
                result = torch.bmm(shares, values)
                found.append(_join(result, part.queries, shared))
        return torch.cat(found).index_select(0, layout.place)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value = ctx.saved_tensors
        with torch.autocast(grad.device.type, enabled=False):
            return *_gradients(query, key, value, ctx.layout, grad), None


def _gradients(
    query: Tensor, key: Tensor, value: Tensor, layout: Layout, grad: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Give the gradients of query, key and value by that of the result."""
    shared = key.shape[1]
    places = sum(part.queries.numel() for part in layout.parts)
    spread = grad.new_zeros(places, *grad.shape[1:]).index_copy_(0, layout.place, grad)
    of_query = []
    of_key, of_value = (rows.new_zeros(rows.shape) for rows in (key, value))
    at = 0
    for part in _cut(layout.parts, query.shape[1]):
        queries = _split(query, part.queries, shared)
        keys, values = (_split(rows, part.keys, shared) for rows in (key, value))
        own = torch.arange(at, at + part.queries.numel(), device=grad.device)
        of_result = _split(spread, own.view_as(part.queries), shared)
        at += len(own)
        shares = _shares(queries, keys, part.hidden)
        of_shares = torch.bmm(of_result, values.transpose(1, 2)).float()
        of_scores = torch._softmax_backward_data(of_shares, shares, 2, shares.dtype)
        shares, of_scores = shares.to(grad.dtype), of_scores.to(grad.dtype)
        _add(of_value, part.keys, torch.bmm(shares.transpose(1, 2), of_result))
        _add(of_key, part.keys, torch.bmm(of_scores.transpose(1, 2), queries))
        of_query.append(_join(torch.bmm(of_scores, keys), part.queries, shared))
    return torch.cat(of_query).index_select(0, layout.place), of_key, of_value


def _cut(parts: tuple[Part, ...], heads: int) -> Iterator[Part]:
    """Cut parts into such of `SCORES` scores at most: into pieces, and long pieces into queries.

    Keys that come after the last of the cut's queries are left out.
    """
    for queries, keys, hidden in parts:
        length, later = queries.shape[1], keys.shape[1]
        step = SCORES // (heads * length * later)
        if step:
            for at in range(0, len(queries), step):
                taken = slice(at, at + step)
                yield Part(queries[taken], keys[taken], hidden[taken])
            continue
        step = max(1, SCORES // (heads * later))
        for piece in range(len(queries)):
            for at in range(0, length, step):
                until = min(at + step, length)
                own = (slice(piece, piece + 1), slice(at, until))
                seen = slice(0, later - length + until)
                yield Part(queries[own], keys[own[0], seen], hidden[own][:, :, seen])


def _split(rows: Tensor, tokens: Tensor, shared: int) -> Tensor:
    """(L, heads, size) to (N * shared, heads / shared * n, size), tokens of shape (N, n)."""
    heads, size = rows.shape[1:]
    taken = rows.index_select(0, tokens.flatten())
    by_key = taken.view(*tokens.shape, shared, heads // shared, size).permute(0, 2, 3, 1, 4)
    return by_key.reshape(len(tokens) * shared, -1, size)


def _join(states: Tensor, tokens: Tensor, shared: int) -> Tensor:
    """What `_split` gives, as rows (N * n, heads, size) again."""
    count, length = tokens.shape
    apart = states.view(count, shared, -1, length, states.shape[2]).permute(0, 3, 1, 2, 4)
    return apart.reshape(count * length, -1, states.shape[2])


def _shares(query: Tensor, key: Tensor, hidden: Tensor) -> Tensor:
    """Give the share that each query takes of each key's value, shape of the scores.

    Scores and shares are float32 in any case: rounded to bfloat16 before the softmax, they put
    results off by two to eight times as much.
    """
    query, key = query.float(), key.float()
    bias = query.new_zeros(hidden.shape).masked_fill_(hidden, -torch.inf)
    scores = torch.bmm(query, key.transpose(1, 2))
    scores.view(len(bias), -1, *bias.shape[1:]).add_(bias[:, None])
    return scores.softmax(dim=2)


def _add(total: Tensor, tokens: Tensor, states: Tensor) -> None:
    """Add states of keys, as `_split` lays them out, to their tokens' rows, in a fixed order."""
    rows, places = _join(states, tokens, total.shape[1]), tokens.flatten()
    if total.is_cuda:  # where index_add_ adds in any order
        total.index_put_((places,), rows, accumulate=True)
    else:
        total.flatten(1).index_add_(0, places, rows.flatten(1))


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
        attention_mask: of plain attention; or one of blocks over the row.
        scaling: of the scores.
        layout: how the row attends; None for plain attention.
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
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    kind = _kind(value)
    rows = (states[0].transpose(0, 1).to(kind) for states in (query * scale, key, value))
    return _Attend.apply(*rows, layout)[None], None  # type: ignore[no-untyped-call]


def _kind(value: Tensor) -> torch.dtype:
    """Name the format to multiply in, for autocast knows neither of our ways to attend."""
    where = value.device.type
    return torch.get_autocast_dtype(where) if torch.is_autocast_enabled(where) else value.dtype


@cache
def compiled() -> Callable[..., Tensor]:
    """Compile flex_attention, once a process: uncompiled it makes all scores at once."""
    kernel: Callable[..., Tensor] = torch.compile(flex_attention)
    return kernel


def _flex(
    query: Tensor, key: Tensor, value: Tensor, mask: BlockMask, scaling: float | None
) -> Tensor:
    """Attend over a row by flex_attention: blocks where nobody sees anybody cost nothing."""
    heads, shared, kind = query.shape[1], key.shape[1], _kind(value)
    query, key, value = query.to(kind), key.to(kind), value.to(kind)
    sharing = heads.bit_count() == 1  # its kernels share keys among a power of two of heads
    if not sharing:
        key, value = (repeat_kv(states, heads // shared) for states in (key, value))
    found = compiled()(
        query, key, value, block_mask=mask, scale=scaling, enable_gqa=sharing and heads != shared
    )
    return found.transpose(1, 2).contiguous()


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


AttentionInterface.register(NAME, attend)
AttentionMaskInterface.register(NAME, sdpa_mask)
