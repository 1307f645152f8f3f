"""What can be seen in a text without a model: blank answers, control tokens."""

import re
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

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
    """Tell which texts hold nothing visible."""
    ends, data = string_buffers(texts)
    begins = np.minimum(ends[:-1], max(len(data) - 1, 0))
    first = data[begins] if len(data) else np.zeros(len(texts), np.uint8)
    unsure = (ends[1:] == ends[:-1]) | (first <= ord(" ")) | (first > ord("~"))
    blank = np.zeros(len(texts), bool)
    trimmed = pc.utf8_trim_whitespace(texts.filter(pa.array(unsure)))
    blank[unsure] = pc.equal(pc.binary_length(trimmed), 0).to_numpy(zero_copy_only=False)
    return pa.array(blank)
