"""What can be seen in a text without a model: blank answers, control tokens."""

import re
import unicodedata
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from mutual_taught.hashing import string_buffers
from mutual_taught.keys import Message

CONTROL = re.compile(
    r"<\|[^|<>\s]{1,40}\|>|</?s>|\[/?INST\]|<</?SYS>>|<(?:start|end)_of_turn>|<[｜|][^<>]{1,40}[｜|]>"
)


def find_control_token(messages: Sequence[Message]) -> str | None:
    """Find text that some model's chat template uses as a control token, such as `<|im_end|>`."""
    for message in messages:
        if match := CONTROL.search(message["content"]):
            return match.group()
    return None


def is_blank(texts: pa.Array) -> pa.Array:
    """Tell which texts hold nothing visible: separators and control characters alone."""
    ends, data = string_buffers(texts)
    begins = np.minimum(ends[:-1], max(len(data) - 1, 0))
    first = data[begins] if len(data) else np.zeros(len(texts), np.uint8)
    unsure = (ends[1:] == ends[:-1]) | (first <= ord(" ")) | (first > ord("~"))
    blank = np.zeros(len(texts), bool)
    listed = texts.filter(pa.array(unsure)).to_pylist()
    blank[unsure] = [all(unicodedata.category(sign)[0] in "CZ" for sign in text) for text in listed]
    return pa.array(blank)
