"""Attention over packed rows: scores only between tokens that may see each other, plus padding.

A packed row is one sequence for all that works token by token. For attention it is cut into pieces,
each of which sees itself and some tokens before it: what all prefixes begin with, the rest of each
prefix, each branch. Pieces of a kind are padded to the longest and attend in one batch of matrix
products; query heads are laid beside each other on the keys they share. With a mask of blocks it is
flex_attention over the row as it is. Registered with transformers as `packed_sdpa`; outside of
packed rows it is its plain `sdpa`, with the cap on scores that some models have.

README.md here draws a row and its parts. In shapes, L are the tokens of a row, N the pieces of a
part, n and m the queries and keys of a piece; `shared` is the number of key-value heads.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, flex_attention
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "packed_sdpa"  # transformers refuses what has no "sdpa" by this name, e.g. attention sinks
# Scores made at a time, or those of one query. A GPU starts a kernel for each of the products: with
# as few as on a CPU it takes six times as long (bench/gpu.py).
SCORES = {"cpu": 2**22, "cuda": 2**26}
SIGN = torch.uint8  # of the mask that stands for a row's layout; those of transformers are others


class LayoutLostError(RuntimeError):
    """A model attends in a way of its own: a row's layout does not decide who sees whom."""


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


class _Reading:
    """The packed row that is being read, or was read last.

    No argument of a model: some decoders drop those they do not know. It stays after the forward
    pass because gradient checkpointing makes parts of that again on the way back, in a thread of
    autograd's; hence neither a context variable nor a thread's own.
    """

    layout: Layout | None = None
    mask: Tensor | BlockMask | None = None
    open = False
    attended = 0


_row = _Reading()


@contextmanager
def reading(layout: Layout | None, mask: Tensor | BlockMask) -> Iterator[None]:
    """Let a model's forward pass attend as a packed row does.

    Args:
        layout: who sees whom; None where the mask says it in blocks.
        mask: of the row, which every layer is given in place of its own.

    Raises:
        LayoutLostError: a layer attended in another way, or none attended by this module.
    """
    _row.layout, _row.mask, _row.open, _row.attended = layout, mask, True, 0
    try:
        yield
    finally:
        _row.open = False
    if not _row.attended:
        raise LayoutLostError("its layers do not attend by transformers' attention interface")


def _mask(*arguments: Any, **options: Any) -> Tensor | BlockMask | None:
    """Give the mask of the row that is being read; outside of one, that of sdpa."""
    if _row.open:
        return _row.mask
    made: Tensor | None = sdpa_mask(*arguments, **options)
    return made


class _Attend(torch.autograd.Function):
    """Attention of rows of tokens (L, heads, size), queries scaled, part by part.

    Scores are made again on the way back: none are kept, because they grow with the square of a
    piece. Autocast is off, because it would act on the way forward only.
    """

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, layout: Layout, cap: float | None
    ) -> Tensor:
        ctx.save_for_backward(query, key, value)
        ctx.layout, ctx.cap = layout, cap
        shared = key.shape[1]
        found = []
        with torch.autocast(query.device.type, enabled=False):
            for part in _cut(layout.parts, query.shape[1]):
                queries = _split(query, part.queries, shared)
                keys, values = (_split(rows, part.keys, shared) for rows in (key, value))
                shares, _ = _shares(queries, keys, part.hidden, cap)
                result = torch.bmm(shares.to(values.dtype), values)
                found.append(_join(result, part.queries, shared))
        # From queries of all parts, padding too, shape (places, heads, size), to the row's order.
        return torch.cat(found).index_select(0, layout.place)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value = ctx.saved_tensors
        with torch.autocast(grad.device.type, enabled=False):
            return *_gradients(query, key, value, ctx.layout, ctx.cap, grad), None, None


class _Taken(NamedTuple):
    """What one part takes of the row's states, as `_split` lays it out; B is N times key heads.

    query: shape (B, heads / key heads * n, size). key, value: shape (B, m, size). grad: of the
    result, shape of query, with the size of value.
    """

    query: Tensor
    key: Tensor
    value: Tensor
    grad: Tensor


def _gradients(
    query: Tensor, key: Tensor, value: Tensor, layout: Layout, cap: float | None, grad: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Give the gradients of query, key and value, rows (L, heads, size), by that of the result."""
    shared = key.shape[1]
    places = sum(part.queries.numel() for part in layout.parts)
    # The result took row `place` of the parts' queries; its gradient goes back there. Padding,
    # which no result took, has 0, and so adds nothing to its keys.
    spread = grad.new_zeros(places, *grad.shape[1:]).index_copy_(0, layout.place, grad)
    of_query = []
    of_key, of_value = (rows.new_zeros(rows.shape) for rows in (key, value))
    at = 0
    for part in _cut(layout.parts, query.shape[1]):
        own = torch.arange(at, at + part.queries.numel(), device=grad.device)
        at += len(own)
        tokens = (part.queries, part.keys, part.keys, own.view_as(part.queries))
        states = zip((query, key, value, spread), tokens, strict=True)
        taken = _Taken(*(_split(rows, chosen, shared) for rows, chosen in states))
        of_queries, of_keys, of_values = _part_gradients(taken, part.hidden, cap)
        of_query.append(_join(of_queries, part.queries, shared))
        # A token is a key in several parts, and its gradient is the sum over them.
        _add(of_key, part.keys, of_keys)
        _add(of_value, part.keys, of_values)
    return torch.cat(of_query).index_select(0, layout.place), of_key, of_value


def _part_gradients(
    taken: _Taken, hidden: Tensor, cap: float | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Give the gradients of a part's queries, keys and values, each in its own shape.

    With P = softmax(S), S = cap(Q K^T) and the result P V: dV = P^T dO, dP = dO V^T,
    dS = P (dP - sum(P dP)) times the cap's slope, dQ = dS K, dK = dS^T Q.
    """
    kind = taken.grad.dtype
    shares, slope = _shares(taken.query, taken.key, hidden, cap)
    of_shares = torch.bmm(taken.grad, taken.value.transpose(1, 2)).float()
    of_scores = torch._softmax_backward_data(of_shares, shares, 2, shares.dtype)
    if slope is not None:
        of_scores.mul_(slope)
    # Products are in the format of the states again, as on the way forward.
    shares, of_scores = shares.to(kind), of_scores.to(kind)
    return (
        torch.bmm(of_scores, taken.key),
        torch.bmm(of_scores.transpose(1, 2), taken.query),
        torch.bmm(shares.transpose(1, 2), taken.grad),
    )


def _cut(parts: tuple[Part, ...], heads: int) -> Iterator[Part]:
    """Cut parts into such of `SCORES` scores at most: into pieces, and long pieces into queries.

    Keys that come after the last of the cut's queries are left out. Queries keep their order, so
    that the cuts' queries end to end are the parts' queries end to end, which `place` counts in.
    """
    for queries, keys, hidden in parts:
        most = SCORES["cpu" if queries.device.type == "cpu" else "cuda"]
        length, later = queries.shape[1], keys.shape[1]
        step = most // (heads * length * later)  # pieces at a time
        if step:
            for at in range(0, len(queries), step):
                taken = slice(at, at + step)
                yield Part(queries[taken], keys[taken], hidden[taken])
            continue
        step = max(1, most // (heads * later))  # queries of one piece at a time
        for piece in range(len(queries)):
            for at in range(0, length, step):
                until = min(at + step, length)
                own = (slice(piece, piece + 1), slice(at, until))
                seen = slice(0, later - length + until)  # a piece's own keys are its last ones
                yield Part(queries[own], keys[own[0], seen], hidden[own][:, :, seen])


def _split(rows: Tensor, tokens: Tensor, shared: int) -> Tensor:
    """(L, heads, size) to (N * shared, heads / shared * n, size), tokens of shape (N, n).

    The query heads that share a key head become more queries of it: one product with the key head
    as it is, where a copy of the keys for every query head would have to be made otherwise.
    """
    heads, size = rows.shape[1:]
    taken = rows.index_select(0, tokens.flatten())  # (N * n, heads, size)
    by_key = taken.view(*tokens.shape, shared, heads // shared, size)
    by_key = by_key.permute(0, 2, 3, 1, 4)  # (N, shared, heads / shared, n, size)
    return by_key.reshape(len(tokens) * shared, -1, size)


def _join(states: Tensor, tokens: Tensor, shared: int) -> Tensor:
    """What `_split` gives, as rows (N * n, heads, size) again."""
    count, length = tokens.shape
    apart = states.view(count, shared, -1, length, states.shape[2])
    apart = apart.permute(0, 3, 1, 2, 4)  # (N, n, shared, heads / shared, size)
    return apart.reshape(count * length, -1, states.shape[2])


def _shares(
    query: Tensor, key: Tensor, hidden: Tensor, cap: float | None
) -> tuple[Tensor, Tensor | None]:
    """Give the share that each query takes of each key's value, shape of the scores.

    Scores and shares are float32 in any case: rounded to bfloat16 before the softmax, they put
    results off by two to eight times as much.

    Returns:
        The shares, and the derivative of the cap at each score; None without a cap.
    """
    query, key = query.float(), key.float()
    # No query is left without a key, which would make its shares NaN: padding sees itself, too.
    bias = query.new_zeros(hidden.shape).masked_fill_(hidden, -torch.inf)
    scores = torch.bmm(query, key.transpose(1, 2))
    slope = None
    if cap is not None:
        bent = scores.div_(cap).tanh_()
        slope = 1 - bent.square()
        scores = bent * cap
    # All heads of a piece hide the same: (N, heads, n, m) with (N, 1, n, m).
    scores.view(len(bias), -1, *bias.shape[1:]).add_(bias[:, None])
    return scores.softmax(dim=2), slope


def _add(total: Tensor, tokens: Tensor, states: Tensor) -> None:
    """Add states of keys, as `_split` lays them out, to their tokens' rows, in a fixed order."""
    rows, places = _join(states, tokens, total.shape[1]), tokens.flatten()
    if total.is_cuda:  # where index_add_ adds in any order
        total.index_put_((places,), rows, accumulate=True)
    else:
        total.flatten(1).index_add_(0, places, rows.flatten(1))


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
    if isinstance(attention_mask, BlockMask):
        _row.attended += 1
        return _flex(query, key, value, attention_mask, scaling, softcap), None
    if attention_mask is not None and attention_mask.dtype == SIGN:
        _row.attended += 1
        if _row.layout is None or len(_row.layout.place) != query.shape[2]:
            raise LayoutLostError("it attends over something else than the row's tokens")
        return attend_row(query, key, value, _row.layout, scaling, softcap), None
    if _row.open:
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
    return _Attend.apply(*rows, layout, softcap)[None]  # type: ignore[no-any-return, no-untyped-call]


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
    scores = torch.matmul(own, key.transpose(2, 3)).float() * scale
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
