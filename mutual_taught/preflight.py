"""What must hold of a model before hours are spent on it; each check refuses with its reason."""

import hashlib
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol

import torch
from transformers import PretrainedConfig, PreTrainedTokenizerBase

from mutual_taught.chat import prompt_tokens, scored_tokens
from mutual_taught.errors import InputError
from mutual_taught.keys import Message
from mutual_taught.models import (
    ATTENTIONS,
    RewardModel,
    device,
    layer_kinds,
    packed_rewards,
    window,
)
from mutual_taught.packing import share_prefix

QUESTION: list[Message] = [{"role": "user", "content": "What is a good name for a small boat?"}]
TURNS: list[Message] = [
    *QUESTION,
    {"role": "assistant", "content": "Little Wave."},
    {"role": "user", "content": "And for a large one?"},
]
ANSWERS = ("Great Wave.", "Call it Great Wave, for it is large and the sea is wide.", "No idea")
BATCH = 8
AGREE = {torch.float32: 1e-3, torch.bfloat16: 0.25}


class Check(NamedTuple):
    """What was looked at, what was found, and what to do if it is wrong (empty if it is right)."""

    name: str
    found: str
    fault: str


class Speaker(Protocol):
    """What an engine holds of a policy beside its weights."""

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """Give what renders its conversations."""

    @property
    def stop_ids(self) -> frozenset[int]:
        """Give the tokens that end an answer."""


def policy(loaded: Speaker) -> Iterator[Check]:
    """Check a policy's tokenizer and template."""
    tokenizer = loaded.tokenizer
    yield _template(tokenizer)
    for messages in (QUESTION, TURNS):
        yield _bos(tokenizer, messages)
        yield _prefix(tokenizer, messages)
    names = [tokenizer.convert_ids_to_tokens(token) for token in sorted(loaded.stop_ids)]
    ending = scored_tokens(tokenizer, QUESTION, ANSWERS[0])[-4:]
    ends = bool(loaded.stop_ids & set(ending))
    yield Check(
        "an answer ends in a stop token", ", ".join(map(str, names)),
        "" if ends else "the template ends a turn in none of these; set eos_token_id in "
        "generation_config.json to the token that ends a turn",
    )  # fmt: skip


def reward_model(loaded: RewardModel) -> Iterator[Check]:
    """Check a reward model's tokenizer and template, and that batches do not change rewards."""
    yield _template(loaded.tokenizer)
    for messages in (QUESTION, TURNS):
        yield _bos(loaded.tokenizer, messages)
        yield _shown(loaded.tokenizer, messages)
    yield _batches(loaded)


def sight(config: PretrainedConfig, max_length: int) -> Check:
    """Check that a model's tokens see the longest conversation whole, as packed rows show it.

    Args:
        config: of the model; those trained from it have the same.
        max_length: of a conversation, in tokens.
    """
    name, seen = "what a token sees", window(config)
    if other := sorted(set(layer_kinds(config)) - set(ATTENTIONS)):
        return Check(
            name, f"layers of {', '.join(other)}",
            "expected attention alone, for conversations are read packed; choose another model",
        )  # fmt: skip
    fault = f"expected tokens.max_length {max_length} or more; lower that to {seen}"
    return Check(
        name, f"{seen} tokens" if seen else "all before it",
        fault if seen and seen < max_length else "",
    )  # fmt: skip


def require(checks: Iterable[Check], what: object) -> None:
    """Stop at the first check that fails.

    Raises:
        InputError: naming the model, the check, what is and what to do.
    """
    for check in checks:
        if check.fault:
            raise InputError(f"{what}: {check.name}: {check.found}; {check.fault}")


def _template(tokenizer: PreTrainedTokenizerBase) -> Check:
    text = str(tokenizer.chat_template or "")
    name = hashlib.sha256(text.encode()).hexdigest()[:12] if text else "none"
    fault = "" if text else "expected one; use an instruction-tuned model"
    return Check("chat template", name, fault)


def _bos(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message]) -> Check:
    """Count BOS tokens at the start: one if the tokenizer has it that way, never two."""
    whole, bos = scored_tokens(tokenizer, messages, ANSWERS[0]), tokenizer.bos_token_id
    count = next((i for i, token in enumerate(whole) if token != bos), len(whole))
    adds = bos is not None and tokenizer("x")["input_ids"][:1] == [bos]
    right = count == 1 if adds else count <= 1
    return Check(
        f"BOS at the start of {_turns(messages)}", str(count),
        "" if right else "expected one; the template and the tokenizer disagree on who adds it; "
        "mend chat_template",
    )  # fmt: skip


def _shown(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message]) -> Check:
    """Look for the answers in what the reward model reads."""
    read = [scored_tokens(tokenizer, messages, text) for text in ANSWERS]
    hidden = [
        text
        for text, tokens in zip(ANSWERS, read, strict=True)
        if _letters(text) not in _letters(str(tokenizer.decode(tokens)))
    ]
    return Check(
        f"answer to {_turns(messages)} is in what is scored", "no" if hidden else "yes",
        "expected a template that shows the assistant's turn; mend chat_template" if hidden else "",
    )  # fmt: skip


def _letters(text: str) -> str:
    """Keep letters alone: tokenizers may change case, white space and signs."""
    return "".join(sign for sign in text.lower() if sign.isalpha())


def _prefix(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message]) -> Check:
    """Compare a prompt's tokens with the beginning of the same prompt and its answer."""
    prompt = prompt_tokens(tokenizer, messages, "preflight")
    whole = scored_tokens(tokenizer, messages, ANSWERS[0])
    same = [a == b for a, b in zip(prompt, whole, strict=False)]
    begins = all(same) and len(whole) > len(prompt)
    return Check(
        f"prompt of {_turns(messages)} begins prompt + answer",
        "yes" if begins else f"not from token {same.index(False) if False in same else 0} on",
        "" if begins else "expected a template that renders a conversation the same with and "
        "without its answer; mend chat_template",
    )  # fmt: skip


def _turns(messages: Sequence[Message]) -> str:
    return "one turn" if len(messages) == 1 else f"{len(messages)} turns"


def _batches(loaded: RewardModel) -> Check:
    """Rewards of one conversation at a time and of a packed row of many."""
    sequences = [
        scored_tokens(loaded.tokenizer, messages, text)
        for messages in (QUESTION, TURNS)
        for text in ANSWERS
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
            "rewards of a batch", str(together[0]), "reward is NaN or infinite; expected a number; "
            "try score.dtype float32, or another reward model",
        )  # fmt: skip
    limit = AGREE[loaded.model.dtype]
    return Check(
        f"rewards in batches of 1 and of {BATCH}", f"differ by {gap:.2g}",
        "" if gap <= limit else f"expected at most {limit:g}; this architecture mixes "
        "sequences; it cannot be scored packed",
    )  # fmt: skip
