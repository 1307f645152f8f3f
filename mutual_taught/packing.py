"""Several answers that share a prefix, as one row without padding."""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Tokens = Sequence[int]
T = TypeVar("T")


class Group(NamedTuple):
    """Answers to one prompt: a shared prefix, and what follows it in each of them."""

    prefix: Tokens
    branches: Sequence[Tokens]

    @property
    def size(self) -> int:
        """Tokens the group takes in a row."""
        return len(self.prefix) + sum(map(len, self.branches))


class Row(NamedTuple):
    """Groups laid end to end.

    input_ids, position_ids: shape (1, L). mask: shape (1, 1, L, L), True where a token sees
    another. lengths: tokens of each branch. predict: positions whose logits predict the branches'
    tokens, branch after branch; last: position of each branch's last token.
    """

    input_ids: Tensor
    position_ids: Tensor
    mask: Tensor
    lengths: list[int]
    predict: Tensor
    targets: Tensor
    last: Tensor


def share_prefix(sequences: Sequence[Tokens]) -> Group:
    """Split whole sequences into their longest common prefix and the rest.

    Every branch keeps at least its last token, at which it is scored.
    """
    limit = min(map(len, sequences)) - 1
    first = sequences[0]
    length = 0
    while length < limit and all(tokens[length] == first[length] for tokens in sequences):
        length += 1
    return Group(first[:length], [tokens[length:] for tokens in sequences])


def pack(groups: Sequence[Group], device: torch.device | str = "cpu") -> Row:
    """Lay groups into one row: a branch sees its prefix and itself, positions restart.

    Args:
        groups: at least one; prefixes and branches have at least one token each.
        device: where the tensors go.

    Returns:
        The row; L is the sum of the groups' sizes.
    """
    ids: list[int] = []
    positions: list[NDArray[np.int64]] = []
    group_of: list[NDArray[np.int64]] = []
    branch_of: list[NDArray[np.int64]] = []
    predict: list[NDArray[np.int64]] = []
    last: list[int] = []
    lengths: list[int] = []
    for number, (prefix, branches) in enumerate(groups):
        for branch, tokens in enumerate([prefix, *branches]):
            start = 0 if branch == 0 else len(prefix)
            at = len(ids)
            ids.extend(tokens)
            positions.append(np.arange(start, start + len(tokens)))
            group_of.append(np.full(len(tokens), number))
            branch_of.append(np.full(len(tokens), branch))
            if branch == 0:
                end_of_prefix = len(ids) - 1
            else:
                predict.append(np.r_[end_of_prefix, np.arange(at, at + len(tokens) - 1)])
                last.append(len(ids) - 1)
                lengths.append(len(tokens))
    group = torch.from_numpy(np.concatenate(group_of)).to(device)
    branch_ids = torch.from_numpy(np.concatenate(branch_of)).to(device)
    order = torch.arange(len(ids), device=device)
    mask = (
        (group[:, None] == group[None, :])
        & ((branch_ids[None, :] == 0) | (branch_ids[:, None] == branch_ids[None, :]))
        & (order[None, :] <= order[:, None])
    )
    targets = [token for _, branches in groups for tokens in branches for token in tokens]
    return Row(
        torch.tensor([ids], device=device),
        torch.from_numpy(np.concatenate(positions)).to(device)[None],
        mask[None, None],
        lengths,
        torch.from_numpy(np.concatenate(predict)).to(device),
        torch.tensor(targets, device=device),
        torch.tensor(last, device=device),
    )


def fill(items: Iterable[T], sizes: Iterable[int], budget: int) -> Iterator[list[T]]:
    """Cut items into runs whose sizes add up to the budget at most; a larger one goes alone.

    Args:
        items: in order; the order is kept.
        sizes: tokens of each.
        budget: tokens a run.
    """
    run: list[T] = []
    total = 0
    for item, size in zip(items, sizes, strict=True):
        if run and total + size > budget:
            yield run
            run, total = [], 0
        run.append(item)
        total += size
    if run:
        yield run


def branch_logps(logits: Tensor, row: Row) -> list[Tensor]:
    """Give the log-probability of every branch's tokens.

    Args:
        logits: at `row.predict`, shape (targets, vocabulary).
        row: the row they belong to.

    Returns:
        A float32 tensor of shape (tokens,) for every branch, in nats.
    """
    scores = logits.float()
    chosen = scores.gather(1, row.targets[:, None]).squeeze(1) - scores.logsumexp(dim=1)
    return list(torch.split(chosen, row.lengths))
