"""Attention over packed rows: scores only between tokens that may see each other, plus padding.

A packed row is one sequence for all that works token by token. For attention it is cut into pieces,
each of which sees itself and some tokens before it: what all prefixes begin with, the rest of each
prefix, each branch. Pieces of a kind are padded to the longest and attend in one batch of matrix
products; query heads are laid beside each other on the keys they share.

README.md here draws a row and its parts. In shapes, L are the tokens of a row, N the pieces of a
part, n and m the queries and keys of a piece; `shared` is the number of key-value heads.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

# Scores made at a time, or those of one query. A GPU starts a kernel for each of the products: with
# as few as on a CPU it takes six times as long (bench/gpu.py).
SCORES = {"cpu": 2**22, "cuda": 2**26}


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


class Attend(torch.autograd.Function):
    """Attention of rows of tokens (L, heads, size), queries scaled, part by part.

    Scores are made again on the way back: none are kept, because they grow with the square of a
    piece. Autocast is off, because it would act on the way forward only.
    """

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, layout: Layout, cap: float | None
    ) -> Tensor:
        """Attend; keep what the way back needs, which is no scores."""
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
        """Give the gradients of query, key and value, part by part as on the way forward."""
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
