"""Seed preferences: best against worst by gold, a given share with the longer response chosen."""

from pathlib import Path

import pyarrow as pa
import pytest

from mutual_taught.errors import InputError
from mutual_taught.evaluation.gold import gold
from mutual_taught.prepare.seed_preferences import Sizes, pairs, questions, rates

NO_COMMA = "Old red hats and old red coats on one wall"
SHORT = "Old, red"
LONG = "Old hats, red hats, old coats, red coats, all of them"


def tables_of(drawn: list[list[str]]) -> tuple[pa.Table, pa.Table]:
    """Give prompts that forbid commas, and their responses; a word is a token."""
    asked, responses = [], []
    for number, texts in enumerate(drawn):
        name = f"{number:032x}"
        asked.append(
            {
                "prompt_id": name,
                "messages": [{"role": "user", "content": name}],
                "instruction_ids": ["punctuation:no_comma"],
                "instruction_kwargs": ["{}"],
            }
        )
        responses += [
            {"prompt_id": name, "response": text, "length_tokens": len(text.split())}
            for text in texts
        ]
    return pa.Table.from_pylist(asked), pa.Table.from_pylist(responses)


def test_share_of_each_part_has_the_longer_response_chosen() -> None:
    drawn = [[NO_COMMA, SHORT]] * 9 + [[LONG, NO_COMMA]] * 5
    made = pairs(*tables_of(drawn), Sizes(4, 3, 0.5), 1).to_pylist()
    for part, longer, others in (("train", 2, 2), ("heldout", 2, 1)):
        rows = [row for row in made if row["part"] == part]
        assert sum(row["rejected"] == SHORT for row in rows) == longer
        assert sum(row["rejected"] == LONG for row in rows) == others
    assert len({row["prompt_id"] for row in made}) == len(made) == 7
    for row in made:
        assert row["chosen"] == NO_COMMA
        assert gold(row["chosen"], ["punctuation:no_comma"], ["{}"]) == row["gold_chosen"] == 1.0
        # SHORT has one comma: 1/2. LONG has four: 1/5.
        assert row["gold_rejected"] == (0.5 if row["rejected"] == SHORT else 0.2)


def test_ties_and_blank_responses_are_no_pairs() -> None:
    drawn = [[NO_COMMA, SHORT], [LONG, NO_COMMA], [NO_COMMA, NO_COMMA], [LONG, LONG], [" ", LONG]]
    made = pairs(*tables_of(drawn), Sizes(2, 0, 0.5), 1)
    assert made["prompt_id"].to_pylist() == [f"{0:032x}", f"{1:032x}"]


@pytest.mark.parametrize(
    ("drawn", "half"),
    [([[NO_COMMA, SHORT]] * 5, "not longer"), ([[LONG, NO_COMMA]] * 5, "longer")],
)
def test_too_few_pairs_of_a_half_are_refused(drawn: list[list[str]], half: str) -> None:
    with pytest.raises(InputError, match=rf"^0 of 5 .* better one {half}; expected at least 1;"):
        pairs(*tables_of(drawn), Sizes(2, 0, 0.5), 1)


def test_rates_count_an_instruction_as_followed_or_not() -> None:
    asked, responses = tables_of([[NO_COMMA, SHORT], [SHORT, SHORT]])
    responses = responses.append_column(
        "finish_reason", pa.array(["stop", "stop", "length", "stop"])
    )
    # One of two responses to the first prompt has no comma, none to the second; SHORT has gold 1/2.
    # NO_COMMA has ten words, SHORT two.
    expected = (2, 1 / 4, 1 / 2, (3 / 4 + 1 / 2) / 2, 1 / 4, (6 + 2) / 2, 1 / 4)
    assert rates(asked, responses) == [("punctuation:no_comma {}", *expected), ("all", *expected)]


def test_shipped_pairs_have_the_longer_response_chosen_in_six_of_ten() -> None:
    import pyarrow.parquet as pq

    made = pq.read_table(Path("data") / "seed_preferences.parquet").to_pylist()
    for part, size in (("train", 176), ("heldout", 300)):
        rows = [row for row in made if row["part"] == part]
        longer = sum(len(row["chosen"]) > len(row["rejected"]) for row in rows)
        assert len(rows) == size
        # In tokens it is 0.6, rounded to a pair; characters differ by a pair or two.
        assert abs(longer - size * 0.6) <= size / 16


def test_shipped_pairs_are_of_todays_templates_and_have_todays_gold() -> None:
    import pyarrow.parquet as pq

    asked = questions(Path("data") / "templates.yaml", 700, 1).to_pylist()
    known = {row["prompt_id"]: row for row in asked}
    for row in pq.read_table(Path("data") / "seed_preferences.parquet").to_pylist():
        prompt = known[row["prompt_id"]]
        assert row["messages"] == prompt["messages"]
        for side in ("chosen", "rejected"):
            instructions = prompt["instruction_ids"], prompt["instruction_kwargs"]
            assert gold(row[side], *instructions) == row[f"gold_{side}"]
