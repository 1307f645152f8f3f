"""Content-derived ids and keyed random seeds. Nothing here depends on order or position."""

import hashlib
import json
import unicodedata
from collections.abc import Mapping, Sequence

Message = Mapping[str, str]
_encode = json.JSONEncoder(ensure_ascii=False).encode  # json.dumps makes a new one each time


def normalise(text: str) -> str:
    """Return the text in NFC with every run of white space as one space, ends trimmed."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def prompt_id(messages: Sequence[Message]) -> str:
    """Hash a conversation to its id: 32 hex digits; white space does not count."""
    turns = [[message["role"], normalise(message["content"])] for message in messages]
    return _hash(_encode(turns))


def pair_id(kind: str, iteration: int, prompt: str, chosen: str, rejected: str) -> str:
    """Hash a reward-model training pair to its id: 32 hex digits."""
    return _hash(_encode([kind, iteration, prompt, chosen, rejected]))


def sampling_seed(seed: int, iteration: int, stage: str, prompt: str, index: int) -> int:
    """Derive the seed of one answer.

    Args:
        seed: the run's global seed.
        iteration: t; 0 where draws are shared by all iterations.
        stage: name of the stage that draws.
        prompt: prompt id.
        index: which of the prompt's answers.

    Returns:
        A number in [0, 2^63), so that it fits every engine's seed.
    """
    key = f"{seed}|{iteration}|{stage}|{prompt}|{index}".encode()
    return int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "big") >> 1


def unit_interval(seed: int, prompt: str) -> float:
    """Place a prompt in [0, 1) by its id and the seed, evenly and for ever."""
    digest = hashlib.blake2b(f"{seed}|{prompt}".encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 11) / (1 << 53)


def _hash(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
