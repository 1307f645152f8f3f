"""Content-derived ids and keyed random seeds. Nothing here depends on order or position."""

import binascii
import hashlib
import unicodedata
from collections.abc import Mapping, Sequence
from itertools import pairwise
from json.encoder import encode_basestring as _quote
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Integers = npt.NDArray[np.int64]
HEX = b"0123456789abcdef"
Names: TypeAlias = "Sequence[str] | pa.ChunkedArray"
GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def normalise(text: str) -> str:
    """Return the text in NFC with every run of white space as one space, ends trimmed."""
    composed = text if text.isascii() else unicodedata.normalize("NFC", text)
    return " ".join(composed.split())


def prompt_id(messages: Sequence[Mapping[str, str]]) -> str:
    """Hash a conversation to its id: 32 hex digits; white space does not count."""
    turns = [_turn(message["role"], message["content"]) for message in messages]
    return _hash(f"[{', '.join(turns)}]".encode())


def prompt_ids(conversations: pa.ListArray) -> list[str]:
    """Hash conversations: see `prompt_id`. Turns are read as two columns, not as rows."""
    turns = conversations.flatten()
    roles, contents = (turns.field(name).to_pylist() for name in ("role", "content"))
    texts = list(map(_turn, roles, contents))
    ends = np.cumsum([0, *pc.list_value_length(conversations).to_pylist()]).tolist()
    return [_hash(f"[{', '.join(texts[a:b])}]".encode()) for a, b in pairwise(ends)]


def _turn(role: str, content: str) -> str:
    return f"[{_quote(role)}, {_quote(normalise(content))}]"


def pair_id(kind: str, iteration: int, prompt: str, chosen: str, rejected: str) -> str:
    """Hash a reward-model training pair to its id: 32 hex digits."""
    return _hash(f"{kind}|{iteration}|{prompt}|{len(chosen)}|{chosen}{rejected}".encode())


def pair_ids(
    kind: str,
    iteration: int,
    prompts: pa.StringArray,
    chosen: pa.StringArray,
    rejected: pa.StringArray,
) -> list[str]:
    """Hash pairs of one kind and iteration: see `pair_id`."""
    length = pc.utf8_length(chosen).cast(pa.string())
    texts = pc.binary_join_element_wise(chosen, rejected, "")
    whole = pc.binary_join_element_wise(f"{kind}|{iteration}", prompts, length, texts, "|")
    return list(map(_hash, whole.cast(pa.binary()).to_pylist()))


def sampling_seeds(
    seed: int, iteration: int, stage: str, prompts: Names, indices: Integers
) -> Integers:
    """Derive the seeds of responses, all at once.

    A prompt's id is a hash already: its first 64 bits, the hash of (seed, iteration, stage) and
    the index go through splitmix64's finaliser (Steele, Lea and Flood, 2014).

    Args:
        seed: the run's global seed.
        iteration: t; 0 where draws are shared by all iterations.
        stage: name of the stage that draws.
        prompts: (n,) prompt ids.
        indices: (n,) which of the prompt's responses.

    Returns:
        (n,) numbers in [0, 2^63), so that they fit every engine's seed.
    """
    places = np.asarray(indices, np.uint64) * GOLDEN
    mixed = _mix(_mix(_numbers(prompts) ^ _key(f"{seed}|{iteration}|{stage}")) + places)
    return (mixed >> np.uint64(1)).astype(np.int64)


def sampling_seed(seed: int, iteration: int, stage: str, prompt: str, index: int) -> int:
    """Derive the seed of one response: see `sampling_seeds`."""
    return int(sampling_seeds(seed, iteration, stage, [prompt], np.array([index]))[0])


def places(seed: int, prompts: Names) -> npt.NDArray[np.float64]:
    """Place prompts in [0, 1) by their ids and the seed, evenly and for ever."""
    mixed = _mix(_mix(_numbers(prompts) ^ _key(f"{seed}|split")) + GOLDEN)
    return (mixed >> np.uint64(11)).astype(np.float64) / (1 << 53)


def _numbers(prompts: Names) -> npt.NDArray[np.uint64]:
    """Read the first 64 bits of every prompt id."""
    if not isinstance(prompts, pa.ChunkedArray):
        prompts = pa.chunked_array([prompts], pa.string())
    joined = b"".join(map(string_bytes, prompts.chunks))
    other = pc.any(pc.not_equal(pc.binary_length(prompts), 32)).as_py()
    if other or joined.translate(None, HEX):
        raise ValueError("prompt ids are 32 hex digits each")
    return np.frombuffer(binascii.unhexlify(joined), ">u8")[::2].astype(np.uint64)


def _key(text: str) -> np.uint64:
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return np.uint64(int.from_bytes(digest, "big"))


def _mix(state: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Scatter 64-bit numbers, one to one."""
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))


def _hash(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def string_bytes(strings: pa.StringArray) -> bytes:
    """Give the bytes of all strings, one after the other."""
    ends, values = string_buffers(strings)
    return values[ends[0] : ends[-1]].data if len(strings) else b""  # type: ignore[return-value]


def string_buffers(strings: pa.StringArray) -> tuple[NDArray[np.int32], NDArray[np.uint8]]:
    """Give where strings begin and end, shape (n + 1,), and the bytes they stand in; no copies."""
    _, offsets, values = strings.buffers()
    if not len(strings):
        return np.zeros(1, np.int32), np.zeros(0, np.uint8)
    ends = np.frombuffer(offsets, np.int32)[strings.offset : strings.offset + len(strings) + 1]
    return ends, np.frombuffer(values, np.uint8) if values else np.zeros(0, np.uint8)
