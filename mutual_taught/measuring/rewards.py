"""Rewards of conversations: what begins alike is read once, equal texts are scored once."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from mutual_taught.artifacts.files import digest
from mutual_taught.config.blocks import Tokens
from mutual_taught.models.chat import plain
from mutual_taught.models.message import Message
from mutual_taught.models.packed.conversations import Asked
from mutual_taught.scoring.scorer import Scorer
from mutual_taught.scoring.shards import score_all


class Conversation(NamedTuple):
    """A prompt and the responses to it that are to be scored."""

    messages: Sequence[Message]
    responses: Sequence[str]


class Reward(NamedTuple):
    """A reward, or why there is none (empty where there is one)."""

    value: float | None
    reason: str


def score(
    scorer: Scorer, reward_model: Path, asked: Sequence[Conversation], tokens: Tokens, name: str
) -> list[list[Reward]]:
    """Score every response of every conversation, in shards, going on after an interruption.

    Conversations with the same turns are one: their prompt is read once, whichever row it came
    from. Special tokens spelt out in a prompt are broken up, as those in responses are.

    Args:
        scorer: takes the reward model.
        reward_model: its folder, with a manifest.
        asked: in any order, each with at least one response.
        tokens: limits.
        name: of the work folder.

    Returns:
        For each conversation, a reward of each response, in order.
    """
    scorer.load(reward_model)
    keys = [_key(one.messages) for one in asked]
    texts = _texts(keys, asked)
    turns = {key: one.messages for key, one in zip(keys, asked, strict=True)}
    gathered = [
        Asked(
            key,
            [
                {"role": turn["role"], "content": plain(scorer.tokenizer, turn["content"])}
                for turn in turns[key]
            ],
            list(places),
        )
        for key, places in texts.items()
    ]
    found = _by_place(score_all(scorer, reward_model, gathered, tokens, name))
    return [
        [found[key][place] for place in map(texts[key].__getitem__, one.responses)]
        for key, one in zip(keys, asked, strict=True)
    ]


def _key(messages: Sequence[Message]) -> str:
    """Hash turns as they stand: white space counts, because it has a reward of its own."""
    return digest([[turn["role"], turn["content"]] for turn in messages])[:32]


def _texts(keys: Iterable[str], asked: Iterable[Conversation]) -> dict[str, dict[str, int]]:
    """Give every distinct response to the conversations of a key its place among them."""
    places: dict[str, dict[str, int]] = {}
    for key, one in zip(keys, asked, strict=True):
        own = places.setdefault(key, {})
        for text in one.responses:
            own.setdefault(text, len(own))
    return places


def _by_place(scored: pa.Table) -> dict[str, list[Reward]]:
    """Gather rows of `rewards`, which are sorted by key and place."""
    found: dict[str, list[Reward]] = {}
    columns = (scored[name].to_pylist() for name in ("prompt_id", "reward", "reason"))
    for key, value, reason in zip(*columns, strict=True):
        found.setdefault(key, []).append(Reward(value, reason))
    return found
