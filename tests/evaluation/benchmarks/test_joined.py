"""Rows of a judge are joined by name, and every one that has no place is named."""

from pathlib import Path

import pytest

from mutual_taught.errors import InputError
from mutual_taught.evaluation.benchmarks.joined import Named, in_order

PATH = Path("annotations.json")


def test_shuffled_rows_are_put_in_the_order_of_the_prompts() -> None:
    assert in_order(["a", "b", "c"], [Named(1, "c"), Named(2, "a"), Named(3, "b")], PATH) == [
        1,
        2,
        0,
    ]


def test_missing_extra_and_doubled_rows_are_all_named_in_one_line() -> None:
    rows = [Named(1, "a"), Named(2, "z"), Named(3, "a")]
    with pytest.raises(InputError) as error:
        in_order(["a", "b"], rows, PATH)
    assert str(error.value) == (
        "annotations.json: row 2: 'z' is none of the 2 prompts; row 3: 'a' again, after row 1; no "
        "row for 'b'; expected one row for each of the 2 prompts; finish the judging, or name the "
        "prompts it was about"
    )


def test_of_many_bad_rows_the_first_are_named_and_the_others_counted() -> None:
    with pytest.raises(InputError, match="no row for '7'; and 12 more; expected one row"):
        in_order([str(number) for number in range(20)], [], PATH)
