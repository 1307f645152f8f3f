"""Several responses that share a prefix, as one row without padding; README.md here draws one."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask

from mutual_taught.models.packed.attention import SIGN
from mutual_taught.models.packed.pieces import Layout, Part

Tokens = Sequence[int]
ROWS = 64  # of logits, made into probabilities at a time
T = TypeVar("T")


class Group(NamedTuple):
    """Responses to one prompt: a shared prefix, and what follows it in each of them."""

    prefix: Tokens
    branches: Sequence[Tokens]

    @property
    def size(self) -> int:
        """Tokens of the group by itself; a row has fewer of it if all its groups begin alike."""
        return len(self.prefix) + sum(map(len, self.branches))


class PackedRow(NamedTuple):
    """Groups laid end to end; what all of them begin with stands once, at the start.

    input_ids, position_ids: shape (1, L). layout: who sees whom. For flex_attention the mask says
    it, in blocks, shape (1, 1, L, L), and there is no layout; otherwise the mask stands for the
    layout, shape (1, 1, 1, 1).
    lengths: tokens of each branch. predict: positions whose logits predict the branches' tokens,
    branch after branch; last: position of each branch's last token. branches: how many of them
    read a token, shape (L,).
    """

    input_ids: Tensor
    position_ids: Tensor
    mask: Any  # Tensor | BlockMask
    layout: Layout | None
    lengths: list[int]
    predict: Tensor
    targets: Tensor
    last: Tensor
    branches: Tensor


def read_until(tokens: Tokens, padding: int | None) -> Tokens:
    """Leave out what follows the token that a reward is read at: the last that is no padding.

    What follows changes nothing before it. Where there is no padding token, or no other, all stay.
    """
    end = len(tokens)
    while end > 1 and tokens[end - 1] == padding:
        end -= 1
    return tokens[:end]


def share_prefix(sequences: Sequence[Tokens]) -> Group:
    """Split whole sequences into their longest common prefix and the rest.

    Every branch keeps at least its last token, at which it is scored.
    """
    length = shared_length(sequences, 1)
    return Group(sequences[0][:length], [tokens[length:] for tokens in sequences])


def shared_length(sequences: Sequence[Tokens], spared: int = 0) -> int:
    """Count the tokens that all sequences begin with, leaving each so many of its last."""
    length = 0
    for tokens in zip(*sequences, strict=False):
        if any(token != tokens[0] for token in tokens):
            break
        length += 1
    return max(0, min(length, min(map(len, sequences)) - spared))


class _Places(NamedTuple):
    """All groups' tokens end to end, and where each stands in the row.

    branch: 0 for the prefix, shape (T,). own: False where it stands in the first group's place,
    because all groups begin with it, shape (T,). place: in the row, shape (T,). sizes: of the
    groups. shared: tokens that all groups begin with.
    """

    branch: NDArray[np.int64]
    own: NDArray[np.bool_]
    place: NDArray[np.int64]
    sizes: NDArray[np.int64]
    shared: int


def _stand(groups: Sequence[Group], branch_of: NDArray[np.int64]) -> _Places:
    """Say where every token stands: those that all groups begin with, once, at the start."""
    sizes = np.array([group.size for group in groups])
    # One group by itself shares its beginning with nobody: its whole prefix is one piece.
    shared = shared_length([group.prefix for group in groups]) if len(groups) > 1 else 0
    within = np.arange(len(branch_of)) - np.repeat(sizes.cumsum() - sizes, sizes)
    own = within >= shared
    own[:shared] = True  # the first group's, which stand for everybody's
    return _Places(branch_of, own, np.where(own, own.cumsum() - 1, within), sizes, shared)


def pack(
    groups: Sequence[Group], device: torch.device | str = "cpu", flex: bool = False
) -> PackedRow:
    """Lay groups into one row: a branch sees its prefix and itself, positions restart.

    What all prefixes begin with, such as a system prompt, is read once and seen by all groups.

    Args:
        groups: at least one; prefixes and branches have at least one token each.
        device: where the tensors go.
        flex: make the mask for flex_attention.

    Returns:
        The row; L is the sum of the groups' sizes, less what later groups share with the first.
    """
    ids: list[int] = []
    positions: list[NDArray[np.int64]] = []
    branch_of: list[NDArray[np.int64]] = []
    readers: list[NDArray[np.int64]] = []
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
            readers.append(np.full(len(tokens), len(branches) if branch == 0 else 1))
            if branch == 0:
                end_of_prefix = len(ids) - 1
            else:
                # A branch's first token is predicted at the end of its prefix, not at the token
                # before it in the row, which belongs to another branch.
                predict.append(np.r_[end_of_prefix, np.arange(at, at + len(tokens) - 1)])
                last.append(len(ids) - 1)
                lengths.append(len(tokens))
    # Until here places count all groups end to end; `places.place` says where each is in the row.
    places = _stand(groups, np.concatenate(branch_of))
    layout = None if flex else _lay_out(places, device)
    mask = _blocks(places, device) if flex else torch.zeros((1, 1, 1, 1), dtype=SIGN, device=device)
    targets = [token for _, branches in groups for tokens in branches for token in tokens]
    own, place = places.own, places.place
    return PackedRow(
        torch.from_numpy(np.array(ids)[own]).to(device)[None],
        torch.from_numpy(np.concatenate(positions)[own]).to(device)[None],
        mask,
        layout,
        lengths,
        torch.from_numpy(place[np.concatenate(predict)]).to(device),
        torch.tensor(targets, device=device),
        torch.from_numpy(place[last]).to(device),
        torch.from_numpy(np.bincount(place, np.concatenate(readers))).float().to(device),
    )


def _lay_out(places: _Places, device: torch.device | str) -> Layout:
    """Cut a row into pieces that attend: the shared beginning, the prefixes, the branches."""
    nobody = places.place[:0]
    beginning, prefixes, branches = [(nobody, places.place[: places.shared])], [], []
    for start, size in zip(places.sizes.cumsum() - places.sizes, places.sizes, strict=True):
        tokens, branch = (array[start : start + size] for array in (places.place, places.branch))
        bounds = np.flatnonzero(np.diff(branch, prepend=0))  # where each branch begins
        prefix, *rest = np.split(tokens, bounds)  # places in the row, a piece each
        prefixes.append((prefix[: places.shared], prefix[places.shared :]))
        branches += [(prefix, own) for own in rest]
    # Three kinds, not one: padded to the longest of all, a short response would cost a long prompt.
    parts, place, before = [], np.empty(places.own.sum(), np.int64), 0
    for kind in (beginning, prefixes, branches):
        if pieces := [(seen, own) for seen, own in kind if len(own)]:
            part, at = _part(pieces, device)
            place[np.concatenate([own for _, own in pieces])] = before + at
            before += part.queries.numel()
            parts.append(part)
    return Layout(tuple(parts), torch.from_numpy(place).to(device))


def _part(
    pieces: Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]], device: torch.device | str
) -> tuple[Part, NDArray[np.int64]]:
    """Pad pieces to the longest.

    Args:
        pieces: the tokens that a piece sees of others, and its own, which see each other causally.
        device: where the tensors go.

    Returns:
        The part, and where each own token stands among its queries, piece after piece.
    """
    before, length = (max(len(piece[side]) for piece in pieces) for side in (0, 1))
    queries = np.zeros((len(pieces), length), np.int64)  # padding is token 0: any would do
    keys = np.zeros((len(pieces), before + length), np.int64)
    hidden = np.zeros((len(pieces), length, before + length), bool)
    # Among its own keys a query sees those up to itself; padding comes last, seen by padding.
    hidden[:, :, before:] = ~np.tri(length, dtype=bool)
    for number, (seen, own) in enumerate(pieces):
        queries[number, : len(own)] = own
        keys[number, : len(seen)] = seen
        keys[number, before : before + len(own)] = own
        hidden[number, :, len(seen) : before] = True
    at = [number * length + np.arange(len(own)) for number, (_, own) in enumerate(pieces)]
    tensors = (torch.from_numpy(array).to(device) for array in (queries, keys, hidden))
    return Part(*tensors), np.concatenate(at)


def _blocks(places: _Places, device: torch.device | str) -> BlockMask:
    """Say who sees whom for flex_attention, which leaves out blocks where nobody sees anybody."""
    numbers = np.repeat(np.arange(len(places.sizes)), places.sizes)[places.own]
    numbers[: places.shared] = -1  # in every group
    group = torch.from_numpy(numbers).to(device)
    branch = torch.from_numpy(places.branch[places.own]).to(device)

    def sees(_: Tensor, __: Tensor, seeing: Tensor, seen: Tensor) -> Tensor:
        same_branch = (branch[seen] == 0) | (branch[seen] == branch[seeing])
        same_group = (group[seen] < 0) | (group[seen] == group[seeing])
        return (seeing >= seen) & same_group & same_branch

    return create_block_mask(sees, None, None, len(group), len(group), device=device)


def fill(items: Iterable[T], sizes: Iterable[int], budget: int) -> Iterator[list[T]]:
    """Cut items into runs whose sizes add up to the budget at most; a larger one is its own run.

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


class _LogProbs(torch.autograd.Function):
    """Log-probs of targets (T,) by logits (T, vocabulary), in float32, a few rows at a time.

    The gradient is written over the logits, the largest tensor of a step, because nobody else
    needs them; PyTorch refuses a second backward pass.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, targets: Tensor) -> Tensor:
        parts = torch.split(logits, ROWS)
        total = torch.cat([part.float().logsumexp(dim=1) for part in parts])
        ctx.save_for_backward(logits, targets, total)
        return logits.gather(1, targets[:, None]).squeeze(1).float() - total

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        logits, *others = ctx.saved_tensors
        parts = (torch.split(saved, ROWS) for saved in (logits, *others, grad))
        for part, target, total, of_target in zip(*parts, strict=True):
            # d log p(target) / d logits = onehot(target) - softmax(logits), times what came back.
            found = part.float().sub_(total[:, None]).exp_().mul_(-of_target[:, None])
            found.scatter_add_(1, target[:, None], of_target[:, None])
            part.copy_(found)
        return logits, None


def branch_logps(logits: Tensor, row: PackedRow) -> list[Tensor]:
    """Give the log-probability of every branch's tokens.

    Args:
        logits: at `row.predict`, shape (targets, vocabulary); the backward pass writes over them.
        row: the row they belong to.

    Returns:
        A float32 tensor of shape (tokens,) for every branch, in nats.
    """
    chosen: Tensor = _LogProbs.apply(logits, row.targets)  # type: ignore[no-untyped-call]
    return list(torch.split(chosen, row.lengths))


def balance_loss(gates: Sequence[Tensor], row: PackedRow, chosen: int) -> Tensor:
    """Give the load-balancing loss of a mixture of experts, over all tokens that branches read.

    A token counts once for every branch that reads it, as if each branch stood with its prefix in
    a row of its own.

    Args:
        gates: router logits of each layer, shape (L, experts).
        row: the packed row they belong to.
        chosen: experts a token goes to.

    Returns:
        The number of experts times the sum over them of (share of the choices that fall on it)
        times (mean router probability), over layers and tokens; a scalar.

    Source: Switch Transformer (arXiv 2101.03961), equations 4 to 6, as transformers computes it.
    """
    experts = gates[0].shape[-1]
    falls, leans = (torch.zeros(experts, device=row.branches.device) for _ in range(2))
    for gate in gates:
        shares = gate.reshape(-1, experts).float().softmax(dim=-1)  # (L, experts)
        picked = shares.topk(chosen, dim=-1).indices.flatten()
        falls = falls.index_add(0, picked, row.branches.repeat_interleave(chosen))
        leans = leans + (shares * row.branches[:, None]).sum(dim=0)
    total = row.branches.sum() * len(gates)
    return experts * (falls / total * leans / total).sum()
