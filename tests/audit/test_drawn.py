"""What drawn responses must be by their tokens alone."""

from pathlib import Path

import pyarrow as pa
import pytest

from mutual_taught.artifacts import tables
from mutual_taught.audit import response_tables
from mutual_taught.audit.run import Reader
from mutual_taught.models.chat import texts
from mutual_taught.models.folders import stop_ids
from mutual_taught.models.load import load_tokenizer

LONGEST = 4


@pytest.fixture(scope="module")
def reader(policy_folder: Path) -> Reader:
    tokenizer = load_tokenizer(policy_folder)
    return Reader(tokenizer, stop_ids(policy_folder, tokenizer), tokenizer)


def faults(reader: Reader, tokens: list[int], finish: str, text: str | None = None) -> list[str]:
    """Check one response; its text is that of its tokens unless another is given."""
    right = texts(reader.tokenizer, [tokens])[0]
    row = {
        "prompt_id": "0" * 32,
        "response": right if text is None else text,
        "token_ids": tokens,
        "length_tokens": len(tokens),
        "finish_reason": finish,
        "seed": 1,
    }
    data = pa.Table.from_pylist([row], tables.ANSWERS.schema)
    found = response_tables.drawn(Path("answers"), tables.ANSWERS, data, reader, LONGEST)
    return [fault.where.split()[-1] for fault in found]


def test_response_that_ends_with_a_stop_token_has_stopped(reader: Reader) -> None:
    [stop] = reader.stop_ids
    assert faults(reader, [70, 71, stop], "stop") == []
    assert faults(reader, [70, 71, 72, stop], "stop") == []  # the last token there was room for
    assert faults(reader, [70, 71, stop], "length") == ["finish_reason"]


def test_response_without_a_stop_token_was_cut_at_the_longest_length(reader: Reader) -> None:
    assert faults(reader, [70, 71, 72, 73], "length") == []
    assert faults(reader, [70, 71, 72, 73], "stop") == ["finish_reason"]
    assert faults(reader, [70, 71, 72], "length") == ["finish_reason"]  # there was room for more


def test_response_is_no_longer_than_it_may_be_and_has_a_token(reader: Reader) -> None:
    assert faults(reader, [70, 71, 72, 73, 74], "length") == ["token_ids", "finish_reason"]
    assert faults(reader, [], "length") == ["token_ids", "finish_reason"]


def test_nothing_comes_after_a_stop_token(reader: Reader) -> None:
    [stop] = reader.stop_ids
    assert faults(reader, [70, stop, 72, stop], "stop") == ["token_ids"]


def test_text_is_that_of_the_tokens_to_the_last_space(reader: Reader) -> None:
    [stop] = reader.stop_ids
    right = texts(reader.tokenizer, [[70, 71]])[0]
    assert faults(reader, [70, 71, stop], "stop", right) == []
    assert faults(reader, [70, 71, stop], "stop", f"{right} ") == ["response"]
