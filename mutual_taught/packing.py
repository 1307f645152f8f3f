"""Several answers that share a prefix, as one row without padding."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask

from mutual_taught.attention import Layout

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

    input_ids, position_ids: shape (1, L). mask: shape (G, 1, longest group, longest group), True
    where a token of a group sees another of it; layout: where the groups' tokens stand in it. For
    flex_attention the mask is one of blocks, shape (1, 1, L, L), and there is no layout.
    lengths: tokens of each branch. predict: positions whose logits predict the branches' tokens,
    branch after branch; last: position of each branch's last token.
    """

    input_ids: Tensor
    position_ids: Tensor
    mask: Any  # Tensor | BlockMask
    layout: Layout | None
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


def pack(groups: Sequence[Group], device: torch.device | str = "cpu", flex: bool = False) -> Row:
    """Lay groups into one row: a branch sees its prefix and itself, positions restart.

    Args:
        groups: at least one; prefixes and branches have at least one token each.
        device: where the tensors go.
        flex: make the mask for flex_attention.

    Returns:
        The row; L is the sum of the groups' sizes.
    """
    ids: list[int] = []
    positions: list[NDArray[np.int64]] = []
    branch_of: list[NDArray[np.int64]] = []
    predict: list[NDArray[np.int64]] = []
    last: list[int] = []
    lengths: list[int] = []
    for prefix, branches in groups:
        for branch, tokens in enumerate([prefix, *branches]):
            start = 0 if branch == 0 else len(prefix)
            at = len(ids)
            ids.extend(tokens)
            positions.append(np.arange(start, start + len(tokens)))
            branch_of.append(np.full(len(tokens), branch))
            if branch == 0:
                end_of_prefix = len(ids) - 1
            else:
                predict.append(np.r_[end_of_prefix, np.arange(at, at + len(tokens) - 1)])
                last.append(len(ids) - 1)
                lengths.append(len(tokens))
    sizes, branch_by_token = [group.size for group in groups], np.concatenate(branch_of)
    layout, mask = (
        (None, _blocks(sizes, branch_by_token, device)) if flex
        else _lay_out(sizes, branch_by_token, device)
    )  # fmt: skip
    targets = [token for _, branches in groups for tokens in branches for token in tokens]
    return Row(
        torch.tensor([ids], device=device),
        torch.from_numpy(np.concatenate(positions)).to(device)[None],
        mask,
        layout,
        lengths,
        torch.from_numpy(np.concatenate(predict)).to(device),
        torch.tensor(targets, device=device),
        torch.tensor(last, device=device),
    )


def _lay_out(
    sizes: Sequence[int], branch_of: NDArray[np.int64], device: torch.device | str
) -> tuple[Layout, Tensor]:
    """Pad groups to the longest: where tokens stand, and who sees whom.

    Args:
        sizes: tokens of each group.
        branch_of: of each token the branch, 0 for the prefix, shape (L,).
        device: where both go.

    Returns:
        The layout, and the mask of shape (G, 1, longest, longest). Padding sees the first token,
        so that no softmax is over nothing; nobody sees padding.
    """
    count, longest = len(sizes), max(sizes)
    real = np.arange(longest)[None, :] < np.array(sizes)[:, None]
    place = np.flatnonzero(real)
    gather = np.zeros(count * longest, np.int64)
    gather[place] = np.arange(len(place))
    flat = np.full(count * longest, -1)
    flat[place] = branch_of
    branch = flat.reshape(count, longest)
    seen, seeing = branch[:, None, :], branch[:, :, None]
    mask = (seen == 0) | (seen == seeing)
    mask &= np.tri(longest, dtype=bool) & real[:, :, None]
    mask[:, :, 0] |= ~real
    there = torch.from_numpy(gather).to(device), torch.from_numpy(place).to(device)
    return Layout(*there, count), torch.from_numpy(mask[:, None]).to(device)


def _blocks(
    sizes: Sequence[int], branch_of: NDArray[np.int64], device: torch.device | str
) -> BlockMask:
    """Say who sees whom for flex_attention, which leaves out blocks where nobody sees anybody.

    Args:
        sizes: tokens of each group.
        branch_of: of each token the branch, 0 for the prefix, shape (L,).
        device: where the mask goes.
    """
    group = torch.from_numpy(np.repeat(np.arange(len(sizes)), sizes)).to(device)
    branch = torch.from_numpy(branch_of).to(device)

    def sees(_: Tensor, __: Tensor, seeing: Tensor, seen: Tensor) -> Tensor:
        own = (branch[seen] == 0) | (branch[seen] == branch[seeing])
        return (seeing >= seen) & (group[seen] == group[seeing]) & own

    length = len(branch_of)
    return create_block_mask(sees, None, None, length, length, device=device)


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
