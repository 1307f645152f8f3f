"""Gold of responses on tables, worked by hand, and prompts that have none."""

from pathlib import Path

import pyarrow as pa
import pytest

from mutual_taught.artifacts import tables
from mutual_taught.errors import InputError
from mutual_taught.evaluation.gold_tables import of_both, require_verifiable

PATH = Path("run/0/splits/selection.parquet")


def prompts(*instructions: list[str]) -> pa.Table:
    """Prompts a, b, ...: no comma, at least three words, or both."""
    kwargs = {
        "punctuation:no_comma": "{}",
        "length_constraints:number_words": '{"relation": "at least", "num_words": 3}',
    }
    count = len(instructions)
    return pa.table(
        {
            "prompt_id": list("abcd"[:count]),
            "messages": [[{"role": "user", "content": "Name three seas."}]] * count,
            "split": ["selection"] * count,
            "source": ["x"] * count,
            "instruction_ids": list(instructions),
            "instruction_kwargs": [[kwargs[name] for name in names] for names in instructions],
            "chosen": [None] * count,
            "rejected": [None] * count,
        },
        schema=tables.PROMPTS.schema,
    )


NO_COMMA, THREE_WORDS = "punctuation:no_comma", "length_constraints:number_words"


def test_gold_of_both_responses_is_by_their_prompts_instructions() -> None:
    responses = pa.table(
        {
            "prompt_id": ["b", "a", "b"],
            "response": ["red, blue", "one two three", " "],
            "previous_response": ["red blue", "one, two", "red blue"],
        }
    )
    golds = of_both(responses, prompts([NO_COMMA, THREE_WORDS], [NO_COMMA]), PATH)
    # A comma leaves 1/2; "one, two" has two of three words besides; a blank response has 0.
    assert golds.own.tolist() == [0.5, 1.0, 0.0]
    assert golds.previous.tolist() == [1.0, (1 / 2 + 2 / 3) / 2, 1.0]


def test_instruction_followed_in_part_counts_in_part() -> None:
    responses = pa.table(
        {"prompt_id": ["a"], "response": ["red blue"], "previous_response": ["a, b c"]}
    )
    golds = of_both(responses, prompts([NO_COMMA, THREE_WORDS]), PATH)
    # Two of three words without a comma; three words with one comma.
    assert golds.own.tolist() == [(1 + 2 / 3) / 2]
    assert golds.previous.tolist() == [(1 / 2 + 1) / 2]


def test_response_to_a_prompt_that_is_not_there_is_one_line() -> None:
    responses = pa.table({"prompt_id": ["d"], "response": ["x"], "previous_response": ["y"]})
    with pytest.raises(InputError, match="has no row for prompt 'd'"):
        of_both(responses, prompts([NO_COMMA]), PATH)


def test_prompts_without_instructions_are_refused_in_one_line() -> None:
    require_verifiable(
        prompts([NO_COMMA], [THREE_WORDS]), "reward", "build_pairs.labels is verifiable"
    )
    with pytest.raises(InputError) as caught:
        require_verifiable(
            prompts([NO_COMMA], [], []), "reward", "build_pairs.labels is verifiable"
        )
    assert str(caught.value) == (
        "params.yaml: build_pairs.labels is verifiable, and 2 of 3 prompts of the split reward "
        "have no instructions; expected some for each, which a program can check; change it, or "
        "give the prompts instructions (docs/data.md)"
    )
