"""Parquet tables: whole or not at all, the same bytes, joined by id."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mutual_taught.artifacts import joins, table_checks, tables
from mutual_taught.artifacts.schemas import GOLD_PAIRS, RANKED_PAIRS, RESPONSES, REWARDS
from mutual_taught.artifacts.version import VERSION
from mutual_taught.errors import InputError, MissingFileError

ROWS: dict[str, list[Any]] = {
    "prompt_id": ["b", "a", "a"],
    "response_index": [0, 1, 0],
    "reward": [0.5, -1.0, 2.0],
    "reason": ["", "", ""],
}
NULLS = pa.table(
    {
        "prompt_id": ["a", "b"],
        "chosen_index": pa.array(np.array([1, 7]), mask=np.array([False, True])),
        "rejected_index": pa.array(np.array([0, 7]), mask=np.array([False, True])),
        **{
            name: pa.array(np.array([0.5, 7.0]), mask=np.array([False, True]))
            for name in (
                "reward_chosen",
                "reward_rejected",
                "reference_chosen_logps",
                "reference_rejected_logps",
            )
        },
        "kept": [True, False],
        "reason": ["", "rewards_alike"],
    }
)


def save(columns: dict[str, Any], name: str = "rewards.parquet") -> Path:
    """Write a Parquet file as somebody else might."""
    pq.write_table(pa.table(columns), name)
    return Path(name)


def refusal(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        tables.read(path, REWARDS)
    return str(caught.value)


def test_table_of_another_version_is_refused_with_the_command_that_mends_it(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as earlier:
        earlier.setattr(tables, "VERSION", "1")
        path = tables.write(here, REWARDS, ROWS, {})
    remedy = "run dvc repro, or dvc repro -f with its stage if that is up to date"
    assert refusal(path) == (
        f"{path} is of version '1' of the tables; expected '{VERSION}'; {remedy}"
    )
    shipped = path.rename(here / "seed_preferences.parquet")
    assert refusal(shipped).endswith("; make it anew with mutual-taught seed-preferences")


def test_table_of_the_users_own_has_no_version(here: Path) -> None:
    assert tables.read(save(ROWS | {"response_index": [0, 1, 2]}), REWARDS).num_rows == 3


def test_rows_are_sorted_by_their_keys(here: Path) -> None:
    path = tables.write(here, REWARDS, ROWS, {})
    assert tables.read(path, REWARDS).to_pydict() == {
        "prompt_id": ["a", "a", "b"],
        "response_index": [0, 1, 0],
        "reward": [2.0, -1.0, 0.5],
        "reason": ["", "", ""],
    }


def test_table_is_named_after_itself(here: Path) -> None:
    assert tables.write(Path("run/1"), REWARDS, ROWS, {}) == Path("run/1/rewards.parquet")


def test_round_trip_gives_the_same_bytes(here: Path) -> None:
    path = tables.write(here, REWARDS, ROWS, {"dtype": "float32"})
    first, rows = path.read_bytes(), tables.read(path, REWARDS)
    assert tables.write(here / "again", REWARDS, rows, {"dtype": "float32"}).read_bytes() == first


def test_round_trip_of_nulls_gives_the_same_bytes(here: Path) -> None:
    path = tables.write(here, RANKED_PAIRS, NULLS, {})
    first, rows = path.read_bytes(), tables.read(path, RANKED_PAIRS)
    assert rows["chosen_index"].to_pylist() == [1, None]
    assert tables.write(here / "again", RANKED_PAIRS, rows, {}).read_bytes() == first


def test_order_of_the_rows_given_does_not_change_the_bytes(here: Path) -> None:
    backwards = {name: values[::-1] for name, values in ROWS.items()}
    one, other = (
        tables.write(here / n, REWARDS, rows, {}) for n, rows in (("1", ROWS), ("2", backwards))
    )
    assert one.read_bytes() == other.read_bytes()


def test_provenance_is_kept_whatever_its_order(here: Path) -> None:
    said = {"dtype": "float32", "max_length": [2.5, None]}
    one = tables.write(here / "1", REWARDS, ROWS, said)
    other = tables.write(here / "2", REWARDS, ROWS, dict(reversed(said.items())))
    assert one.read_bytes() == other.read_bytes()
    assert tables.provenance(tables.read(one, REWARDS)) == said


def test_provenance_has_the_names_that_the_schema_has(here: Path) -> None:
    with pytest.raises(ValueError, match=r"^rewards.parquet: provenance names seed; the schema"):
        tables.write(Path(), REWARDS, ROWS, {"dtype": "float32", "seed": 1})
    assert not Path("rewards.parquet").exists()


def test_column_with_more_text_than_arrow_holds_is_not_written(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    longer = {**ROWS, "reason": ["four", "", "über"]}  # 4 + 0 + 5 bytes, more than the ids' 3
    monkeypatch.setattr(table_checks, "TEXT_BYTES", 9)
    tables.write(here, REWARDS, longer, {})
    monkeypatch.setattr(table_checks, "TEXT_BYTES", 8)
    with pytest.raises(InputError) as refused:
        tables.write(here / "again", REWARDS, longer, {})
    assert str(refused.value) == (
        f"{here / 'again' / 'rewards.parquet'}: column 'reason' has 9 bytes of text; expected at "
        "most 8; take fewer prompts (data.splits) or responses a prompt"
    )
    assert not (here / "again").exists()
    assert refusal(here / "rewards.parquet").startswith(
        f"{here / 'rewards.parquet'}: column 'reason' has 9 bytes of text"
    )


def test_texts_within_messages_are_counted_a_field_at_a_time(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = [[{"role": "user", "content": "ab"}, {"role": "user", "content": "cde"}]]
    rows: dict[str, Any] = {name: [""] for name in GOLD_PAIRS.columns}
    rows |= {"messages": said, "gold_chosen": [1.0], "gold_rejected": [0.0]}
    monkeypatch.setattr(table_checks, "TEXT_BYTES", 8)  # "user" twice; the contents have 5
    tables.write(here, GOLD_PAIRS, rows, {})
    monkeypatch.setattr(table_checks, "TEXT_BYTES", 7)
    with pytest.raises(InputError, match="column 'messages' has 8 bytes of text"):
        tables.write(here, GOLD_PAIRS, rows, {})


def test_more_columns_are_welcome(here: Path) -> None:
    path = save({**ROWS, "prompt_id": ["a", "b", "c"], "note": ["", "", ""]})
    assert "note" in tables.read(path, REWARDS).column_names


def test_missing_file_is_one_line(here: Path) -> None:
    with pytest.raises(MissingFileError) as caught:
        tables.read(Path("run/1/rewards.parquet"), REWARDS)
    assert str(caught.value) == (
        "run/1/rewards.parquet does not exist; run dvc repro or dvc pull run/1/rewards.parquet"
    )


def test_file_that_is_no_parquet_is_one_line(here: Path) -> None:
    Path("rewards.parquet").write_text("reward\n1.0\n")
    assert refusal(Path("rewards.parquet")).startswith("rewards.parquet: not readable as Parquet (")
    assert "\n" not in refusal(Path("rewards.parquet"))


def test_missing_column_is_one_line(here: Path) -> None:
    path = save({"prompt_id": ["a"], "response_index": [0]})
    assert refusal(path) == (
        "rewards.parquet lacks column 'reward' (double); it has prompt_id, response_index"
    )


def test_column_of_the_wrong_type_is_one_line(here: Path) -> None:
    path = save({**ROWS, "reward": ["high", "low", "low"]})
    assert refusal(path) == "rewards.parquet: column 'reward' is string; expected double"


def test_null_is_one_line(here: Path) -> None:
    path = save({**ROWS, "reason": ["", None, None]})
    assert refusal(path) == "rewards.parquet: column 'reason' has 2 nulls"


@pytest.mark.parametrize("wrong", ["nan", "inf", "-inf"])
def test_number_that_is_none_is_one_line(here: Path, wrong: str) -> None:
    path = save({**ROWS, "reward": [None, 1.0, float(wrong)]})
    assert refusal(path) == f"rewards.parquet: row 3: reward is {wrong}; expected a number"


def test_column_of_numbers_has_a_null_where_there_is_none(here: Path) -> None:
    column = tables.numbers(np.array([1.5, np.nan, -0.0]))
    assert column.to_pylist() == [1.5, None, 0.0]
    rows = {**ROWS, "reward": column, "reason": ["", "too_long", ""]}
    back = tables.read(tables.write(here, REWARDS, pa.table(rows), {}), REWARDS)["reward"]
    np.testing.assert_equal(back.to_numpy(), [0.0, np.nan, 1.5])


def test_null_is_read_where_it_may_stand(here: Path) -> None:
    pq.write_table(NULLS, "ranked_pairs.parquet")
    read = tables.read(Path("ranked_pairs.parquet"), RANKED_PAIRS)
    assert read["reward_chosen"].to_pylist() == [0.5, None]


def test_repeated_key_is_one_line(here: Path) -> None:
    path = save({**ROWS, "prompt_id": ["a", "b", "b"], "response_index": [0, 2, 2]})
    assert refusal(path) == "rewards.parquet: row 3: prompt_id 'b', response_index 2 occurs twice"


def test_repeated_prompt_with_another_index_is_no_repetition(here: Path) -> None:
    path = save({**ROWS, "prompt_id": ["a"] * 3, "response_index": [0, 1, 2]})
    assert len(tables.read(path, REWARDS)) == 3


def test_empty_table_is_one_line(here: Path) -> None:
    pq.write_table(REWARDS.schema.empty_table(), "rewards.parquet")
    assert refusal(Path("rewards.parquet")) == (
        "rewards.parquet has no row; expected at least one; delete it and run dvc repro"
    )


def test_empty_table_of_a_stopped_iteration_is_read(here: Path) -> None:
    tables.empty(Path("run/2"), REWARDS, RESPONSES)
    for table in (REWARDS, RESPONSES):
        read = tables.read(Path(f"run/2/{table.name}.parquet"), table)
        assert (len(read), tables.is_active(read)) == (0, False)
        assert read.schema.remove_metadata() == table.schema


def test_empty_table_of_an_active_iteration_is_not_written(here: Path) -> None:
    with pytest.raises(InputError) as caught:
        tables.write(Path("run/1"), REWARDS, REWARDS.schema.empty_table(), {})
    assert str(caught.value) == ("run/1/rewards.parquet: would have no row; expected at least one")


@pytest.mark.parametrize(
    "rows",
    [
        {**ROWS, "response_index": [0, 0, 0]},
        {name: [] for name in ROWS},
        {**ROWS, "reason": ["", "", None]},
        {**ROWS, "reward": ["a", "b", "c"]},
    ],
    ids=["repeated", "empty", "null", "type"],
)
def test_failed_write_leaves_the_old_file_and_nothing_else(
    here: Path, rows: dict[str, Any]
) -> None:
    before = tables.write(here, REWARDS, ROWS, {}).read_bytes()
    with pytest.raises((ValueError, TypeError)):
        tables.write(here, REWARDS, rows, {})
    assert [path.name for path in here.iterdir()] == ["rewards.parquet"]
    assert (here / "rewards.parquet").read_bytes() == before


def test_digest_ignores_metadata_and_chunks() -> None:
    whole = pa.table(ROWS)
    marked = whole.replace_schema_metadata({"made": "elsewhere"})
    chunked = pa.concat_tables([whole.slice(0, 1), whole.slice(1, 2)])
    assert tables.rows_digest(marked) == tables.rows_digest(whole)
    assert tables.rows_digest(chunked) == tables.rows_digest(whole)


def test_digest_of_a_slice_is_that_of_its_rows() -> None:
    alone = pa.table({"x": ["b", "c"], "y": [[2], [3, 4]], "z": [False, True]})
    longer = pa.table(
        {"x": ["a", "b", "c"], "y": [[9, 9], [2], [3, 4]], "z": [True, False, True]}
    ).slice(1)
    assert tables.rows_digest(longer) == tables.rows_digest(alone)


@pytest.mark.parametrize(
    "changed",
    [
        {**ROWS, "reward": [0.5, -1.0, 2.5]},
        {name: values[::-1] for name, values in ROWS.items()},
        {"id" if name == "prompt_id" else name: values for name, values in ROWS.items()},
    ],
    ids=["value", "order", "name"],
)
def test_digest_tells_rows_apart(changed: dict[str, Any]) -> None:
    assert tables.rows_digest(pa.table(changed)) != tables.rows_digest(pa.table(ROWS))


@pytest.mark.parametrize(("table", "rows"), [(REWARDS, ROWS), (RANKED_PAIRS, NULLS)])
def test_digest_in_the_file_is_that_of_the_rows_read(
    here: Path, table: tables.Table, rows: Any
) -> None:
    read = tables.read(tables.write(here, table, rows, {}), table)
    assert (read.schema.metadata or {})[b"mutual_taught.rows_sha256"].decode() == (
        tables.rows_digest(read)
    )


def test_aligned_rows_are_in_the_order_asked_for() -> None:
    data = pa.table({"prompt_id": ["a", "b", "c"], "x": [1, 2, 3]})
    assert joins.align(data, ["c", "a", "c"], Path("x"))["x"].to_pylist() == [3, 1, 3]


def test_prompt_without_a_row_is_one_line() -> None:
    with pytest.raises(InputError) as caught:
        joins.align(pa.table({"prompt_id": ["a"]}), ["a", "z"], Path("run/0/prompts.parquet"))
    assert str(caught.value) == "run/0/prompts.parquet has no row for prompt 'z'; run dvc repro"


def test_tables_of_other_rows_are_one_line() -> None:
    left = pa.table({"prompt_id": ["a", "b"], "response_index": [0, 0]})
    right = pa.table({"prompt_id": ["a", "b"], "response_index": [0, 1]})
    with pytest.raises(InputError) as caught:
        joins.same_keys(left, right, REWARDS, Path("run/1/rewards.parquet"))
    assert str(caught.value) == (
        "run/1/rewards.parquet: its response_index values are not those it belongs to; "
        "run dvc repro"
    )


def test_width_is_the_number_of_responses_of_every_prompt() -> None:
    data = pa.table({"prompt_id": ["a", "a", "b", "b"], "response_index": [0, 1, 0, 1]})
    assert joins.width(data, Path("x")) == 2


@pytest.mark.parametrize(
    ("prompts", "indices"), [("aab", [0, 1, 0]), ("aabb", [0, 1, 0, 2]), ("abbb", [0, 0, 1, 2])]
)
def test_prompts_with_different_numbers_of_responses_are_refused(
    prompts: str, indices: list[int]
) -> None:
    data = pa.table({"prompt_id": list(prompts), "response_index": indices})
    with pytest.raises(InputError, match=r"^r\.parquet: prompts do not all have responses 0 to "):
        joins.width(data, Path("r.parquet"))


keys = st.tuples(st.text(max_size=3), st.integers(-(2**63), 2**63 - 1))


@given(st.dictionaries(keys, st.floats(allow_nan=False), min_size=1, max_size=6))
def test_any_rows_come_back_as_they_were(rows: dict[tuple[str, int], float]) -> None:
    columns = {
        "prompt_id": [prompt for prompt, _ in rows],
        "response_index": [index for _, index in rows],
        "reward": list(rows.values()),
        "reason": [""] * len(rows),
    }
    encoded = tables.encode(REWARDS, columns, {}, True, Path("x"))
    read = pq.read_table(pa.BufferReader(encoded)).to_pydict()
    found = zip(read["prompt_id"], read["response_index"], strict=True)
    assert dict(zip(found, read["reward"], strict=True)) == rows


def test_table_lies_in_its_folder_under_its_name_and_is_sorted_by_its_keys(tmp_path: Path) -> None:
    assert tables.DUELS.path(tmp_path) == tmp_path / "duels.parquet"
    assert tables.split("eval").path(tmp_path) == tmp_path / "eval.parquet"
    rows = [(2, "a", 0), (1, "b", 0), (1, "a", 1), (1, "a", 0)]
    duels = pa.table(dict(zip(tables.DUELS.keys, zip(*rows, strict=True), strict=True)))
    # by step, then by prompt, then by index
    expected = [(1, "a", 0), (1, "a", 1), (1, "b", 0), (2, "a", 0)]
    assert [tuple(row.values()) for row in tables.DUELS.sorted(duels).to_pylist()] == expected
