"""Whether our rewards and gradients of a reward model are those of a plain pass."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from mutual_taught.checks.plain import load_both, plainly
from mutual_taught.checks.verdicts import FILLING, Verdict, choose, filler, gradient_gap, kept
from mutual_taught.config.blocks import Tokens
from mutual_taught.models import chat
from mutual_taught.models.load import (
    EXAMPLE,
    RewardModel,
    device,
    load_config,
    new_head,
    scoring_tokenizer,
)
from mutual_taught.models.packed.conversations import Asked, tokenise
from mutual_taught.models.packed.forward import packed_rewards
from mutual_taught.models.packed.pooled import scores_packed


def compare_reward_model(folder: Path, tokens: Tokens) -> Verdict:
    """Say how a reward model reads conversations; refuse one that is not read right.

    Args:
        folder: of the reward model.
        tokens: limits; conversations up to `max_length` are compared.

    Raises:
        InputError: no way to read it agrees with `AutoModelForSequenceClassification` on the
            folder, with its own tokenizer and template.
    """

    def look() -> Verdict:
        config, tokenizer = load_config(folder), scoring_tokenizer(folder)
        own, plain = load_both(folder, AutoModelForSequenceClassification, config)
        return _reward_model(folder, RewardModel(own, tokenizer), plain, tokens)

    return kept("reward_model", folder, tokens, {}, look)


def compare_new_reward_model(folder: Path, tokens: Tokens, layers: int | None) -> Verdict:
    """Say how a reward model on a policy's backbone will read: see `reward_model`.

    Args:
        folder: of the policy.
        tokens: limits.
        layers: how many of the policy's, from the first; None for all.
    """

    def look() -> Verdict:
        config, tokenizer = new_head(folder, layers)
        own, plain = load_both(folder, AutoModelForSequenceClassification, config)
        plain.score.load_state_dict(own.score.state_dict())
        return _reward_model(folder, RewardModel(own, tokenizer), plain, tokens)

    return kept("new_reward_model", folder, tokens, {"layers": layers}, look)


def _reward_model(
    folder: Path, own: RewardModel, plain: PreTrainedModel, tokens: Tokens
) -> Verdict:
    """Compare rewards with the classifier's own forward pass on whole conversations."""
    scores_packed(own.model)
    asked = Asked("check", EXAMPLE, ("Great Wave.", "No idea", FILLING))
    group = tokenise(own.tokenizer, asked)
    sequences = [_rendered(own, text) for text in asked.responses]
    groups = [group]
    if len(sequences[1]) < tokens.max_length:  # else there is no longer one
        response = _response(own, tokens.max_length)
        long = tokenise(own.tokenizer, Asked("check", EXAMPLE, (response,)))
        groups, sequences = [group, long], [*sequences, _rendered(own, response)]
    where = device()

    def read(rows: Sequence[Sequence[int]]) -> Tensor:
        ids = (torch.tensor([list(row)], device=where) for row in rows)
        return torch.stack([plain(input_ids=one).logits[0, 0] for one in ids]).float()

    with plainly(folder):
        right = read(sequences)

    def ours() -> dict[str, float]:
        with torch.inference_mode():
            found = packed_rewards(own.model, groups, where)
        apart = (found - right).abs().max() / right.abs().max().clamp(min=1e-6)
        return {
            "rewards": float(apart),
            "gradient": gradient_gap(
                own.model,
                plain,
                lambda: list(packed_rewards(own.model, [group], where)),
                lambda: list(read(sequences[:2])),
            ),
        }

    rows, gaps = choose(folder, own.model, ours)
    return Verdict(rows, gaps)


def _response(own: RewardModel, longest: int) -> str:
    """Give a response with which a conversation has the greatest length, or a few tokens less."""
    room = longest - len(_rendered(own, "No"))
    while True:
        response: str = own.tokenizer.decode(filler(own.tokenizer, FILLING, room))
        over = len(_rendered(own, response)) - longest
        if over <= 0 or room <= 1:
            return response
        room = max(1, room - over)


def _rendered(own: RewardModel, response: str) -> list[int]:
    """Give the tokens of a conversation as a user of the exported folder gets them."""
    return chat.scored_tokens(own.tokenizer, EXAMPLE, response)
