"""What must hold of a model before hours are spent on it; each check refuses with its reason."""

import math
from collections.abc import Iterator
from typing import Protocol

import torch
from transformers import PretrainedConfig, PreTrainedTokenizerBase

from mutual_taught.checks import text_checks
from mutual_taught.checks.check import Check as Check
from mutual_taught.checks.check import require as require
from mutual_taught.checks.text_checks import RESPONSES
from mutual_taught.models.chat import QUESTION, TURNS, scored_tokens
from mutual_taught.models.load import RewardModel, device
from mutual_taught.models.packed.forward import packed_rewards
from mutual_taught.models.packed.rows import share_prefix
from mutual_taught.models.sight import ATTENTIONS, layer_kinds, window

BATCH = 8
AGREE = {torch.float32: 1e-3, torch.bfloat16: 0.25}


class Speaker(Protocol):
    """What an engine holds of a policy beside its weights."""

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """Give what renders its conversations."""

    @property
    def stop_ids(self) -> frozenset[int]:
        """Give the tokens that end a response."""


def policy(loaded: Speaker) -> Iterator[Check]:
    """Check a policy's tokenizer and template."""
    yield from text_checks.policy(loaded.tokenizer, loaded.stop_ids)


def reward_model(loaded: RewardModel) -> Iterator[Check]:
    """Check a reward model's tokenizer and template, and that batches do not change rewards."""
    sound = True
    for check in text_checks.reward_model(loaded.tokenizer):
        sound = sound and not check.fault
        yield check
    if sound:
        yield _batches(loaded)


def sight(config: PretrainedConfig, max_length: int) -> Check:
    """Say what a model's tokens see; whether conversations are read rightly, `agreement` says.

    Args:
        config: of the model; those trained from it have the same.
        max_length: of a conversation, in tokens.
    """
    found, seen = "all before it", window(config)
    if other := sorted(set(layer_kinds(config)) - set(ATTENTIONS)):
        found = f"what layers of {', '.join(other)} keep"
    elif seen:
        found = f"{seen} tokens" + (
            ", in some layers" if ATTENTIONS[0] in layer_kinds(config) else ""
        )
        found += f", fewer than tokens.max_length {max_length}" if seen < max_length else ""
    return Check("what a token sees", found, "")


def _batches(loaded: RewardModel) -> Check:
    """Rewards of one conversation at a time and of a packed row of many."""
    sequences = [
        scored_tokens(loaded.tokenizer, messages, text)
        for messages in (QUESTION, TURNS)
        for text in RESPONSES
    ]
    sequences = (sequences * 2)[:BATCH]
    with torch.inference_mode():
        alone = [
            float(packed_rewards(loaded.model, [share_prefix([tokens])], device())[0])
            for tokens in sequences
        ]
        groups = [share_prefix([tokens]) for tokens in sequences]
        together = packed_rewards(loaded.model, groups, device()).tolist()
    gap = max(abs(a - b) for a, b in zip(alone, together, strict=True))
    if not math.isfinite(sum(alone) + sum(together)):
        return Check(
            "rewards of a batch",
            str(together[0]),
            "reward is NaN or infinite; expected a number; "
            "try score.dtype float32, or another reward model",
        )
    limit = AGREE[loaded.model.dtype]
    return Check(
        f"rewards in batches of 1 and of {BATCH}",
        f"differ by {gap:.2g}",
        ""
        if gap <= limit
        else f"expected at most {limit:g}; this architecture mixes "
        "sequences; it cannot be scored packed",
    )
