"""Rows of prompt files: what is read, what is one bad row, and what refuses the whole file."""

import gzip
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mutual_taught.errors import InputError, MissingFileError
from mutual_taught.prepare.rows import DataRow, keyed, read

USER = {"role": "user", "content": "Hi"}


def save(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def values(path: Path, column: str = "prompt") -> list[object]:
    return [row.values[column] for row in read(path, [column], [])]


def bad(path: Path) -> list[tuple[int, str]]:
    return [(row.number, row.reason) for row in read(path, ["prompt"], []) if row.reason]


def refusal(path: Path, needed: Sequence[str] = ("prompt",)) -> str:
    with pytest.raises((InputError, MissingFileError)) as caught:
        list(read(path, needed, []))
    assert "\n" not in str(caught.value)
    return str(caught.value).removeprefix(f"{path.parent}/")


def jsonl(rows: Sequence[Mapping[str, object]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def test_rows_of_every_format_are_counted_as_their_owner_counts_them(tmp_path: Path) -> None:
    rows = [{"prompt": "a"}, {"prompt": "b"}]
    lines = save(tmp_path / "p.jsonl", jsonl(rows))
    sheet = save(tmp_path / "p.csv", "prompt\na\nb\n")
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "p.parquet")
    for path, first in ((lines, 1), (sheet, 2), (tmp_path / "p.parquet", 1)):
        assert list(read(path, ["prompt"], [])) == [
            DataRow(first, {"prompt": "a"}),
            DataRow(first + 1, {"prompt": "b"}),
        ]


def test_line_separator_inside_a_text_does_not_end_the_line(tmp_path: Path) -> None:
    path = save(
        tmp_path / "p.jsonl", jsonl([{"prompt": "one\u2028two\u0085three"}, {"prompt": "b"}])
    )
    assert values(path) == ["one\u2028two\u0085three", "b"]


def test_blank_lines_are_counted_and_windows_line_ends_do_no_harm(tmp_path: Path) -> None:
    path = save(tmp_path / "p.jsonl", b'{"prompt": "a"}\r\n\r\n{"prompt": "b"}')
    assert [row.number for row in read(path, ["prompt"], [])] == [1, 3]
    path = save(tmp_path / "p.csv", "prompt\r\na\r\n\r\nb")
    assert [(row.number, row.values) for row in read(path, ["prompt"], [])] == [
        (2, {"prompt": "a"}),
        (4, {"prompt": "b"}),
    ]


@pytest.mark.parametrize("name", ["p.jsonl", "p.csv"])
def test_mark_that_a_spreadsheet_puts_first_is_no_part_of_the_text(
    tmp_path: Path, name: str
) -> None:
    text = jsonl([{"prompt": "café"}]) if name == "p.jsonl" else "prompt\ncafé\n"
    assert values(save(tmp_path / name, text.encode("utf-8-sig"))) == ["café"]


@pytest.mark.parametrize("name", ["p.jsonl", "p.csv"])
@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-32"])
def test_file_in_a_wide_encoding_is_one_line(tmp_path: Path, name: str, encoding: str) -> None:
    said = refusal(save(tmp_path / name, '{"prompt": "a"}\n'.encode(encoding)))
    assert said.endswith("expected text in UTF-8; save it so")


@pytest.mark.parametrize("name", ["p.jsonl", "p.csv"])
@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (gzip.compress(b'{"prompt": "a"}', mtime=0), "gzip"),
        (b"PK\x03\x04", "a ZIP archive"),
        (b"PAR1\x15", "Parquet"),
        (b"\x28\xb5\x2f\xfd", "zstd"),
    ],
)
def test_packed_file_is_one_line_that_says_how(
    tmp_path: Path, name: str, content: bytes, kind: str
) -> None:
    said = refusal(save(tmp_path / name, content))
    assert said == f"{name}: is {kind}; expected text in UTF-8; unpack it, or name it by its kind"


def test_column_that_is_called_as_a_packed_file_begins_is_read(tmp_path: Path) -> None:
    assert values(save(tmp_path / "p.csv", "PK,prompt\n1,a\n")) == ["a"]


@pytest.mark.parametrize("sign", [";", "\t", "|"])
def test_sheet_without_commas_is_one_line_that_says_what_it_has(tmp_path: Path, sign: str) -> None:
    said = refusal(save(tmp_path / "p.csv", f"id{sign}prompt\r\n1{sign}Hi, you\r\n"))
    names = {";": "semicolons", "\t": "tabs", "|": "bars"}
    assert said == f"p.csv: has {names[sign]} between its cells; expected commas; save it so"
    path = save(tmp_path / "q.csv", f"prompt,{sign}prompt\na,b\n")
    assert values(path) == ["a"]


def test_header_that_is_not_csv_is_one_line(tmp_path: Path) -> None:
    said = refusal(save(tmp_path / "p.csv", '"id";"prompt"\n"1";"Hi"\n'))
    assert said == (
        "p.csv: its header is not CSV; expected the names of the columns, with commas between them"
    )


def test_blank_lines_before_the_header_are_counted(tmp_path: Path) -> None:
    path = save(tmp_path / "p.csv", "\n\nprompt,id\na,1\n")
    assert list(read(path, ["prompt"], [])) == [DataRow(4, {"prompt": "a", "id": "1"})]
    assert list(read(save(tmp_path / "q.csv", "\n\n"), ["prompt"], [])) == []


@pytest.mark.parametrize("name", ["p.jsonl", "p.csv"])
def test_bytes_that_are_not_utf8_are_a_bad_row(tmp_path: Path, name: str) -> None:
    begin = b"" if name == "p.jsonl" else b"prompt\n"
    rows = [{"prompt": "a"}, {"prompt": "caf\xe9"}, {"prompt": "b"}]
    lines = [json.dumps(row, ensure_ascii=False).encode("latin-1") for row in rows]
    cells = [str(row["prompt"]).encode("latin-1") for row in rows]
    content = b"\n".join(lines if name == "p.jsonl" else cells)
    path = save(tmp_path / name, begin + content)
    assert [reason for _, reason in bad(path)] == ["not_utf8"]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("prompt: b", "not_json"),
        ('{"prompt": "b"', "not_json"),
        ('{"prompt": ' + "[" * 100_000 + "]" * 100_000 + "}", "not_json"),
        ('{"prompt": 1' + "0" * 5_000 + "}", "not_json"),
        ('["b"]', "not_object"),
        ("3", "not_object"),
        ("NaN", "not_object"),
        ('{"text": "b"}', "missing_column"),
        ('{"NaN": "b", "": null}', "missing_column"),
    ],
)
def test_line_that_is_no_row_is_a_bad_row_and_the_next_is_read(
    tmp_path: Path, line: str, reason: str
) -> None:
    path = save(tmp_path / "p.jsonl", f'{{"prompt": "a"}}\n{line}\n{{"prompt": "c"}}\n')
    assert bad(path) == [(2, reason)]
    assert [row.values["prompt"] for row in read(path, ["prompt"], []) if not row.reason] == [
        "a",
        "c",
    ]


def test_path_that_is_no_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "link.csv").symlink_to(tmp_path / "nothing")
    said = "a folder, or a link to nothing; expected a file of prompts"
    assert refusal(tmp_path / "folder.csv") == f"folder.csv: {said}"
    assert refusal(tmp_path / "link.csv") == f"link.csv: {said}"
    for name in ("p.csv", "p" * 300 + ".csv", "p\0.csv"):
        assert refusal(tmp_path / name) == (
            f"{name} does not exist; expected the prompts; see data.path"
        )


def test_column_that_no_row_has_is_one_line(tmp_path: Path) -> None:
    said = "lacks column 'prompt'; it has text, id; set data.columns"
    assert (
        refusal(save(tmp_path / "p.jsonl", jsonl([{"text": "a", "id": 1}]))) == f"p.jsonl: {said}"
    )
    assert refusal(save(tmp_path / "p.csv", "text,id\na,1\n")) == f"p.csv: {said}"
    pq.write_table(pa.table({"text": ["a"], "id": [1]}), tmp_path / "p.parquet")
    assert refusal(tmp_path / "p.parquet") == f"p.parquet: {said}"


def test_names_of_columns_that_cannot_be_printed_are_one_line() -> None:
    rows = iter([DataRow(1, {"\ud83d\x1b": 1})])
    with pytest.raises(InputError, match=r"it has \\ud83d\\x1b; set data.columns$"):
        list(keyed(rows, ["prompt"], "p.jsonl"))


@pytest.mark.parametrize("name", ["p.csv", "p.parquet"])
def test_column_that_is_there_twice_is_one_line(tmp_path: Path, name: str) -> None:
    save(tmp_path / "p.csv", "prompt,prompt\na,b\n")
    table = pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], names=["prompt", "prompt"])
    pq.write_table(table, tmp_path / "p.parquet")
    assert refusal(tmp_path / name) == f"{name}: has column 'prompt' 2 times; expected it once"


def test_json_array_is_one_line(tmp_path: Path) -> None:
    assert refusal(save(tmp_path / "p.jsonl", '[\n{"prompt": "a"}\n]\n')) == (
        "p.jsonl: begins with a JSON array; expected one JSON object a line"
    )
    assert refusal(save(tmp_path / "p.json", "[]")) == (
        "p.json: ends in '.json'; expected .parquet, .jsonl or .csv; write one JSON object a line"
    )


def test_unknown_format_is_one_line(tmp_path: Path) -> None:
    assert refusal(save(tmp_path / "p.txt", "a")) == (
        "p.txt: ends in '.txt'; expected .parquet, .jsonl or .csv"
    )


def test_missing_file_is_one_line(tmp_path: Path) -> None:
    assert refusal(tmp_path / "p.jsonl") == (
        "p.jsonl does not exist; expected the prompts; see data.path"
    )


def test_csv_is_read_with_quoted_line_ends_commas_and_quotes(tmp_path: Path) -> None:
    path = save(tmp_path / "p.csv", 'id,prompt\n1,"a, ""b""\nc"\n2,d\n')
    assert values(path) == ['a, "b"\nc', "d"]


def test_csv_with_a_cell_of_a_million_signs_is_read(tmp_path: Path) -> None:
    path = save(tmp_path / "p.csv", f"prompt\n{'a' * 1_000_000}\n")
    assert [len(str(value)) for value in values(path)] == [1_000_000]


def test_csv_with_nul_bytes_is_read_as_it_is(tmp_path: Path) -> None:
    assert values(save(tmp_path / "p.csv", "prompt\na\0b\n")) == ["a\0b"]


def test_quote_that_never_closes_is_one_line_with_the_row_where_it_began(tmp_path: Path) -> None:
    path = save(tmp_path / "p.csv", 'id,prompt\n1,a\n2,"b\n3,c\n4,d\n')
    assert refusal(path) == (
        "p.csv row 3 (lines 3 to 5): a quote is open or stray (unexpected end of data); "
        "expected it closed, and quotes inside a cell doubled"
    )


def test_stray_quote_that_another_row_closes_is_one_line(tmp_path: Path) -> None:
    path = save(tmp_path / "p.csv", 'id,prompt\n1,a\n2,"b\n3,"c"\n4,d\n')
    assert refusal(path).startswith("p.csv row 3 (lines 3 to 4): a quote is open or stray (")


def test_stray_quote_inside_one_line_is_a_bad_row(tmp_path: Path) -> None:
    path = save(tmp_path / "p.csv", 'id,prompt\n1,"He said "hi" twice"\n2,b\n')
    assert bad(path) == [(2, "not_csv")]


def test_row_of_csv_with_other_cells_than_the_header_is_bad(tmp_path: Path) -> None:
    # without quotes the comma cuts the prompt: 'Hello' alone would be another prompt
    path = save(tmp_path / "p.csv", "id,prompt\n1,Hello, world\n2\n3,b\n")
    assert bad(path) == [(2, "wrong_cells"), (3, "wrong_cells")]


def test_parquet_reads_only_the_columns_it_needs(tmp_path: Path) -> None:
    table = pa.table({"messages": [[USER]], "id": [1], "instruction_ids": [["a"]]})
    pq.write_table(table, tmp_path / "p.parquet")
    assert list(read(tmp_path / "p.parquet", ["messages"], ["instruction_ids", "kwargs"])) == [
        DataRow(1, {"messages": [USER], "instruction_ids": ["a"]})
    ]


def test_text_of_parquet_that_is_not_utf8_is_a_bad_row(tmp_path: Path) -> None:
    raw = pa.array([b"a", b"caf\xe9", b"b"], pa.binary()).view(pa.string())
    pq.write_table(pa.table({"prompt": raw}), tmp_path / "p.parquet")
    assert bad(tmp_path / "p.parquet") == [(2, "not_utf8")]


def test_file_that_is_no_parquet_is_one_line(tmp_path: Path) -> None:
    assert refusal(save(tmp_path / "p.parquet", "a")).startswith(
        "p.parquet: not readable as Parquet ("
    )


def test_damaged_page_is_one_line_with_its_row_group(tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"
    texts = [f"Question {number}" for number in range(60)]
    pq.write_table(
        pa.table({"prompt": texts}),
        path,
        row_group_size=20,
        compression="zstd",
        use_dictionary=False,
        write_page_checksum=True,
    )
    column = pq.ParquetFile(path).metadata.row_group(1).column(0)
    content = bytearray(path.read_bytes())
    content[column.data_page_offset + column.total_compressed_size // 2] ^= 0xFF
    save(path, bytes(content))
    assert refusal(path).startswith("p.parquet: row group 2 (rows 21 to 40) cannot be read (")
    assert refusal(path).endswith("; expected a whole file; fetch it again")


@pytest.mark.parametrize("name", ["p.jsonl", "p.csv"])
def test_empty_file_has_no_row(tmp_path: Path, name: str) -> None:
    assert list(read(save(tmp_path / name, ""), ["prompt"], [])) == []


def test_a_column_that_is_there_twice_is_refused_where_all_are_read(tmp_path: Path) -> None:
    sheet = save(tmp_path / "p.csv", "prompt,note,note\na,b,c\n")
    assert values(sheet) == ["a"]  # nobody asks for the other
    said = "has column 'note' 2 times; expected it once"
    assert refusal(sheet, []) == f"p.csv: {said}"
    twice = pa.Table.from_arrays([pa.array(["a"])] * 3, ["prompt", "note", "note"])
    pq.write_table(twice, tmp_path / "p.parquet")
    with pytest.raises(InputError, match=said):
        list(read(tmp_path / "p.parquet", [], ["prompt", "note"]))


def test_a_date_beyond_pythons_is_one_line_with_its_row_group(tmp_path: Path) -> None:
    when = pa.array([2**30], pa.date32())
    pq.write_table(pa.table({"prompt": ["a"], "when": when}), tmp_path / "p.parquet")
    assert refusal(tmp_path / "p.parquet", ["prompt", "when"]).startswith(
        "p.parquet: row group 1 (rows 1 to 1) cannot be read ("
    )
