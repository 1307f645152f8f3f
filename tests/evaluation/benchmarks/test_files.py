"""Rows of benchmark files: three formats, and bad rows that are named all at once."""

import gzip
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mutual_taught.errors import InputError, MissingFileError
from mutual_taught.evaluation.benchmarks import files
from mutual_taught.evaluation.benchmarks.files import BenchmarkRow

ROWS = [{"prompt": "a\u2028b"}, {"prompt": "c"}]


def prompt(row: BenchmarkRow) -> tuple[int, str]:
    return row.number, files.text(row, "prompt")


def read(path: Path) -> list[tuple[int, str]]:
    return files.parsed([path], prompt, "rows of prompt")


def row(**values: Any) -> BenchmarkRow:
    return BenchmarkRow(Path("f.jsonl"), 3, values)


def test_a_line_ends_at_a_line_feed_and_at_no_other_sign(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("\n\n".join(json.dumps(one, ensure_ascii=False) for one in ROWS))
    assert read(path) == [(1, "a\u2028b"), (3, "c")]  # line 2 is blank


def test_a_json_list_and_parquet_have_the_same_rows(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(ROWS))
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "a.parquet")
    expected = [(1, "a\u2028b"), (2, "c")]
    assert read(tmp_path / "a.json") == read(tmp_path / "a.parquet") == expected


def test_all_bad_rows_of_a_file_are_named_at_once(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"prompt": "a"}\n{"prompt": 7}\nno json\n[1]\n{"text": "b"}\n')
    with pytest.raises(InputError) as error:
        read(path)
    assert str(error.value) == (
        f"{path}: 4 of 5 rows cannot be used: row 2: prompt is '7'; expected text; "
        "row 3: 'no json' is no JSON; row 4: '[1]' is no object; row 5: lacks prompt; it has text; "
        "expected rows of prompt"
    )


def test_of_many_bad_rows_eight_are_named_and_the_rest_counted(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("{}\n" * 11)
    with pytest.raises(InputError, match="row 8: lacks prompt; it has ; and 3 more; expected"):
        read(path)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.txt", "x", "ends in '.txt'; expected rows of prompt in a file that ends in .parquet"),
        ("a.jsonl", "\n", "has no row; expected rows of prompt"),
        ("a.json", '{"prompt": "a"}', "holds a dict; expected a list"),
        ("a.json", '{"prompt": "a"}\n{"prompt": "b"}', "not JSON as a whole"),
        ("a.parquet", "PAR1", "not readable as Parquet after row 0"),
    ],
)
def test_a_file_of_another_format_is_refused(
    name: str, content: str, said: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=f"{name}: {said}"):
        read(tmp_path / name)


def test_a_file_that_is_not_there_says_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"a\.json does not exist; expected rows of prompt"):
        read(tmp_path / "a.json")


def test_an_item_that_occurs_twice_is_named() -> None:
    with pytest.raises(InputError, match=r"a\.jsonl: has b, a twice; expected every row once"):
        files.require_distinct(["a", "b", "b", "c", "a", "a"], [Path("a.jsonl")])


def test_a_prompt_is_a_text_or_turns_that_end_in_the_users() -> None:
    said = [{"from": "human", "value": "Hi"}]
    assert files.prompt(row(prompt="Hi"), "messages", "prompt") == [
        {"role": "user", "content": "Hi"}
    ]
    assert files.prompt(row(messages=said), "messages", "prompt") == [
        {"role": "user", "content": "Hi"}
    ]
    with pytest.raises(files.BadRowError, match="ends in a turn of assistant; expected the user's"):
        files.prompt(row(prompt=[{"role": "assistant", "content": "Hi"}]), "prompt")


TURNS = [{"role": "user", "content": "Hi"}]


def test_a_response_is_a_text_or_a_conversation_that_ends_in_it() -> None:
    turns = [*TURNS, {"role": "assistant", "content": "Yes"}]
    assert files.response(row(chosen="Yes"), "chosen", TURNS) == "Yes"
    assert files.response(row(chosen=turns), "chosen", TURNS) == "Yes"
    assert files.response(row(chosen=turns[1:]), "chosen", TURNS) == "Yes"


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("", "expected text"),
        (TURNS, "ends in a turn of user; expected the assistant's"),
        (
            [{"role": "user", "content": "Ho"}, {"role": "assistant", "content": "Yes"}],
            "answers another conversation",
        ),
        ([{"role": "tool", "content": "Yes"}], "expected turns of role and content"),
        ([], "expected turns of role and content"),
    ],
)
def test_a_response_that_is_none_says_what_it_is(value: object, said: str) -> None:
    with pytest.raises(files.BadRowError, match=said):
        files.response(row(chosen=value), "chosen", TURNS)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"labels": [1]}, "labels has 1 numbers; expected 2"),
        ({"labels": ["1", 0]}, "expected a list of numbers"),
        ({"labels": 1}, "expected a list of numbers"),
    ],
)
def test_numbers_are_counted(values: Mapping[str, Any], said: str) -> None:
    with pytest.raises(files.BadRowError, match=said):
        files.numbers(row(**values), "labels", 2)


def test_true_and_false_are_numbers() -> None:
    assert files.numbers(row(labels=[True, False, 0.5]), "labels", 3) == [1.0, 0.0, 0.5]


def test_a_row_without_id_is_called_by_its_file_and_number() -> None:
    assert files.name(row()) == "f:000003"
    assert files.name(row(id=12)) == "12"
    with pytest.raises(files.BadRowError, match="expected text or a number"):
        files.name(row(id=[]))


def test_packed_lines_are_read_and_a_cut_pack_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.gz"
    packed = gzip.compress("".join(json.dumps(one) + "\n" for one in ROWS).encode())
    path.write_bytes(packed)
    assert read(path) == [(1, "a\u2028b"), (2, "c")]
    for broken in (packed[:-9], b"no gzip"):
        path.write_bytes(broken)
        with pytest.raises(InputError, match=r"a\.jsonl\.gz: not readable as gzip"):
            read(path)


def test_a_folder_stands_for_its_files_in_order_of_their_names(tmp_path: Path) -> None:
    for name in ("b/a.jsonl", "a/b.jsonl"):
        path = tmp_path / name
        path.parent.mkdir()
        path.write_text(json.dumps({"prompt": name}))
    (tmp_path / "README.md").write_text("no data")
    assert read(tmp_path) == [(1, "a/b.jsonl"), (1, "b/a.jsonl")]


def test_a_folder_without_any_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no file that ends in"):
        read(tmp_path)


def test_half_of_a_character_is_refused_and_a_whole_one_is_not(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"prompt": "\\ud83d\\ude00"}\n')
    assert read(path) == [(1, "\U0001f600")]
    path.write_text('{"prompt": "\\ud83d"}\n')
    with pytest.raises(InputError, match="row 1: has half of a character"):
        read(path)


@pytest.mark.parametrize("value", ["NaN", "Infinity", "1" + "0" * 400])
def test_a_number_that_cannot_be_counted_with_is_refused(value: str) -> None:
    listed = json.loads(f"[1, {value}]")
    with pytest.raises(files.BadRowError, match="expected a list of numbers"):
        files.numbers(row(labels=listed), "labels", 2)


@pytest.mark.parametrize(
    ("column", "said"),
    [
        (pa.array([2**30], pa.date32()), "not readable as Parquet after row 0 (OverflowError"),
        (pa.array([2**60], pa.timestamp("us")), "not readable as Parquet after row 0 (Overflow"),
    ],
)
def test_a_date_beyond_pythons_is_one_line(column: pa.Array, said: str, tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"prompt": ["a"], "when": column}), path)
    with pytest.raises(InputError) as refused:
        files.parsed([path], lambda row: row, "rows")
    assert said in str(refused.value)


def test_a_column_of_parquet_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    pq.write_table(pa.Table.from_arrays([pa.array(["a"])] * 2, ["chosen", "chosen"]), path)
    with pytest.raises(InputError, match="has column 'chosen' twice; expected every column once"):
        files.parsed([path], lambda row: row, "rows")
