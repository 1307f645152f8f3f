"""What can be seen in a text without a model: blank answers, control tokens."""

import re
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

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
    return pc.equal(pc.utf8_length(pc.utf8_trim_whitespace(texts)), 0)
