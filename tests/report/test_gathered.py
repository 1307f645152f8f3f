"""What a report gathers from the tables of an iteration."""

from pathlib import Path

import pyarrow as pa

from mutual_taught.artifacts import tables
from mutual_taught.report import gathered

PROMPTS = pa.table(
    {
        "prompt_id": ["a", "b"],
        "instruction_ids": [["punctuation:no_comma"], []],
        "instruction_kwargs": [["{}"], []],
    }
)


def pairs(**more: object) -> pa.Table:
    both = {"response": ["no", "yes"], "previous_response": ["a, b", "a, b"]}
    return pa.table({"prompt_id": ["a", "b"], **both, **more})


def test_pseudo_pairs_get_gold_where_their_prompt_has_instructions() -> None:
    found = gathered.with_gold(pairs(), PROMPTS, Path("reward.parquet"))
    assert found["gold"].to_pylist() == [1.0, None]  # of a without a comma; b asks for nothing
    [worse, none] = found["previous_gold"].to_pylist()
    assert none is None
    assert worse < 1


def test_gold_that_labelled_the_pairs_is_left_as_it_is() -> None:
    known = pairs(gold=tables.numbers(pa.array([0.5, 0.25]).to_numpy()))
    assert gathered.with_gold(known, PROMPTS, Path("reward.parquet")) is known
