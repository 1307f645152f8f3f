"""Digests of columns are of only the values, and of every one of them."""

import io
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mutual_taught.artifacts.digests import column_sha256

MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
COLUMNS: dict[str, tuple[pa.DataType, list[Any]]] = {
    "int": (pa.int64(), [1, 2, None, 4]),
    "float": (pa.float64(), [0.5, -1.0, None, 3.0]),
    "bool": (pa.bool_(), [True, False, None, True]),
    "text": (pa.string(), ["a", "", None, "bc"]),
    "tokens": (pa.list_(pa.int32()), [[1, 2], [], [3], [4]]),
    "texts": (pa.list_(pa.string()), [["a", "b"], [], ["c"], ["d"]]),
    "messages": (MESSAGES, [[{"role": "user", "content": "x"}], [], [], []]),
}


def sha(kind: pa.DataType, *chunks: list[Any]) -> str:
    return column_sha256(pa.chunked_array([pa.array(chunk, kind) for chunk in chunks], kind))


@pytest.mark.parametrize("name", COLUMNS)
def test_chunks_slices_and_files_do_not_matter(name: str) -> None:
    kind, values = COLUMNS[name]
    whole = sha(kind, values)
    assert sha(kind, values[:1], [], values[1:]) == whole
    longer = pa.array([values[1], *values, values[0]], kind)
    assert column_sha256(pa.chunked_array([longer.slice(1, 4)])) == whole
    sink = io.BytesIO()
    pq.write_table(pa.table({"x": pa.array(values, kind)}), sink, row_group_size=2)
    assert column_sha256(pq.read_table(sink)["x"]) == whole


@pytest.mark.parametrize("name", COLUMNS)
def test_any_other_value_or_order_gives_another_digest(name: str) -> None:
    kind, values = COLUMNS[name]
    found = {sha(kind, values), sha(kind, values[::-1]), sha(kind, values[:-1])}
    for row in range(len(values)):
        changed = list(values)
        changed[row] = values[(row + 1) % len(values)]
        if changed != values:
            found.add(sha(kind, changed))
    assert len(found) >= 5


def test_null_zero_and_empty_differ() -> None:
    assert sha(pa.int64(), [None]) != sha(pa.int64(), [0])
    assert sha(pa.string(), [None]) != sha(pa.string(), [""])


def test_where_a_text_ends_matters() -> None:
    assert sha(pa.string(), ["ab", "c"]) != sha(pa.string(), ["a", "bc"])
    assert sha(pa.list_(pa.int32()), [[1], [2, 3]]) != sha(pa.list_(pa.int32()), [[1, 2], [3]])


def test_type_matters() -> None:
    assert sha(pa.int32(), [1]) != sha(pa.int64(), [1])


def test_unknown_type_is_refused() -> None:
    with pytest.raises(TypeError, match="no digest for columns of date32"):
        sha(pa.date32(), [1])


@given(st.lists(st.text(max_size=4)), st.integers(0, 5))
def test_texts_hash_the_same_however_they_are_cut(values: list[str], at: int) -> None:
    assert sha(pa.string(), values) == sha(pa.string(), values[:at], values[at:])
