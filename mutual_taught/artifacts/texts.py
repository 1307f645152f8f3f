"""What can be seen in a text without a model: blank responses, marks of templates."""

import re
import unicodedata

import numpy as np
import pyarrow as pa

from mutual_taught.keys import string_buffers

CONTROL = re.compile(
    r"<\|[^|<>\s]{1,40}\|>|</?s>|\[/?INST\]|<</?SYS>>|<(?:start|end)_of_turn>|<[｜|][^<>]{1,40}[｜|]>"
)


def is_blank(texts: pa.Array) -> pa.Array:
    """Tell which texts hold nothing visible: only separators and control characters."""
    ends, data = string_buffers(texts)
    begins = np.minimum(ends[:-1], max(len(data) - 1, 0))
    first = data[begins] if len(data) else np.zeros(len(texts), np.uint8)
    unsure = (ends[1:] == ends[:-1]) | (first <= ord(" ")) | (first > ord("~"))
    blank = np.zeros(len(texts), bool)
    listed = texts.filter(pa.array(unsure)).to_pylist()
    blank[unsure] = [is_blank_text(text) for text in listed]
    return pa.array(blank)


def is_blank_text(text: str) -> bool:
    """Tell whether one text holds nothing visible."""
    return all(unicodedata.category(sign)[0] in "CZ" for sign in text)
