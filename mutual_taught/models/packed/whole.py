"""Responses read as whole sequences, each with its prompt: for models that can't be packed."""

from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from mutual_taught.models.packed.rows import Group

# How a model's conversations are laid out: packed rows; whole sequences, padded at the right; or
# whole sequences with others of exactly their length only, for models whose padding shows.
Rows = Literal["packed", "padded", "single"]


class Batch(NamedTuple):
    """Whole sequences as one batch.

    places: of the sequences among all branches. input_ids, mask: shape (N, L), padded at the right;
    the mask is None where nothing is padding. starts: where each sequence's response begins.
    lengths: of each sequence, in tokens.
    """

    places: list[int]
    input_ids: Tensor
    mask: Tensor | None
    starts: list[int]
    lengths: list[int]

    @property
    def last(self) -> Tensor:
        """Give the place of every sequence's last token among all N L tokens, shape (N,)."""
        width = self.input_ids.shape[1]
        ends = [row * width + length - 1 for row, length in enumerate(self.lengths)]
        return torch.tensor(ends, device=self.input_ids.device)


def batches(groups: Sequence[Group], rows: Rows, where: torch.device) -> Iterator[Batch]:
    """Lay every branch out with its prefix, in one padded batch, or a batch for each length.

    Args:
        groups: at least one branch each.
        rows: `padded` or `single`.
        where: device of the tensors.
    """
    sequences = [[*group.prefix, *branch] for group in groups for branch in group.branches]
    starts = [len(group.prefix) for group in groups for _ in group.branches]
    sharing: dict[int, list[int]] = {}
    for place, tokens in enumerate(sequences):
        sharing.setdefault(len(tokens) if rows == "single" else 0, []).append(place)
    for places in sharing.values():
        lengths = [len(sequences[place]) for place in places]
        width = max(lengths)
        padded = [sequences[place] + [0] * (width - len(sequences[place])) for place in places]
        real = torch.arange(width)[None] < torch.tensor(lengths)[:, None]
        yield Batch(
            places,
            torch.tensor(padded, device=where),
            None if bool(real.all()) else real.long().to(where),
            [starts[place] for place in places],
            lengths,
        )


def logps(
    model: Any, groups: Sequence[Group], rows: Rows, where: torch.device, asked: dict[str, Any]
) -> tuple[list[Tensor], Tensor | None]:
    """Run a policy over whole sequences: the token log-probs of every branch, and `aux_loss`.

    Args:
        model: wrapped for several processes or not.
        groups: at least one.
        rows: `padded` or `single`.
        where: device of the model.
        asked: further arguments of the forward pass.

    Returns:
        A float32 tensor (tokens,) for every branch, in nats; the batches' mean auxiliary loss,
        weighted by their sequences, None unless the model gives one.
    """
    found: dict[int, Tensor] = {}
    balance: list[Tensor] = []
    count = sum(len(group.branches) for group in groups)
    for batch in batches(groups, rows, where):
        masked = {} if batch.mask is None else {"attention_mask": batch.mask}
        output = model(input_ids=batch.input_ids, use_cache=False, **masked, **asked)
        for row, place in enumerate(batch.places):
            start, end = batch.starts[row], batch.lengths[row]
            targets = batch.input_ids[row, start:end]
            # The logits before a token predict it; padding stands after the end and has no target.
            logits = output.logits[row, start - 1 : end - 1].float()
            found[place] = -cross_entropy(logits, targets, reduction="none")
        if "output_router_logits" in asked:
            loss = torch.as_tensor(output.aux_loss or 0.0, device=where)
            balance.append(loss * (len(batch.places) / count))
    return [found[place] for place in range(count)], torch.stack(balance).sum() if balance else None


def rewards(model: Any, groups: Sequence[Group], rows: Rows, where: torch.device) -> Tensor:
    """Run a reward model over whole sequences: the head at each one's last token.

    Args:
        model: of `pooled.scores_packed`, wrapped for several processes or not.
        groups: at least one.
        rows: `padded` or `single`.
        where: device of the model.

    Returns:
        Rewards (logits) of all branches, float32, shape (branches,).
    """
    places: list[int] = []
    parts = []
    for batch in batches(groups, rows, where):
        masked = {} if batch.mask is None else {"attention_mask": batch.mask}
        parts.append(model(input_ids=batch.input_ids, last=batch.last, **masked))
        places += batch.places
    # Batches of one length each come in another order than the branches.
    order = torch.tensor(places, device=where).argsort()
    return torch.cat(parts)[order]
