"""A report remembers every iteration: tables without long texts, the same bytes every time."""

from pathlib import Path

import pyarrow as pa
import pytest

from mutual_taught.artifacts import files, tables
from mutual_taught.errors import InputError
from mutual_taught.report import past
from mutual_taught.report.past import Past


def test_texts_seeds_and_lists_are_left_out() -> None:
    columns: dict[str, object] = {
        "prompt_id": ["a"],
        "response": ["long"],
        "token_ids": [[1, 2]],
        "seed": [7],
        "reward": [0.5],
    }
    assert past.without_texts(pa.table(columns)).to_pydict() == {
        "prompt_id": ["a"],
        "reward": [0.5],
    }


def test_what_is_kept_is_carried_and_read_again(tmp_path: Path) -> None:
    first, second = tmp_path / "1", tmp_path / "2"
    rewards = pa.table({"prompt_id": ["a"], "reward": [0.5]})
    curves = tmp_path / "curves"
    files.write_bytes(curves / "dpo.csv", b"step,loss\n1,0.5\n")
    files.write_bytes(curves / "train_rm.csv", b"step,loss\n")
    past.keep(first, "1", {"rewards": rewards})
    past.keep_curves(first, "1", curves)
    past.carry(first, second)
    past.keep(second, "2", {})
    files.write_json(
        second / "data.json",
        [{"iteration": t, "metrics": {"dpo": {"loss": t / 2}}} for t in (1, 2)],
    )
    one, two = past.read(second)
    assert one.iteration == 1
    assert one.rewards is not None
    assert one.rewards.to_pydict() == rewards.to_pydict()
    assert one.dpo is not None
    assert one.dpo.to_pydict() == {"step": [1], "loss": [0.5]}
    assert one.train_rm is not None
    assert len(one.train_rm) == 0
    assert two == past.Past(2, {"dpo": {"loss": 1.0}})


def test_report_of_a_run_remembers_all_its_iterations(finished: Path) -> None:
    history = past.read(finished / "2" / "report")
    assert [one.iteration for one in history] == [0, 1, 2]
    base, first, _ = history
    assert base.responses is None
    assert base.dpo is None
    for table in (*past.OF_EVALUATION, *past.OF_STEPS):
        kept = getattr(first, table.name)
        folder = finished / "1" / ("eval" if table in past.OF_EVALUATION else "")
        source = tables.read(table.path(folder), table)
        assert len(kept) == len(source) > 0
        assert not {"response", "token_ids"} & set(kept.column_names)
        assert tables.provenance(kept) == tables.provenance(source)
    assert first.instructions is not None
    assert first.instructions.column_names == ["prompt_id", "instruction_ids"]
    assert first.dpo is not None
    assert "loss" in first.dpo.column_names


def test_report_of_a_stopped_run_has_tables_without_rows(stopped: Path) -> None:
    last = past.read(stopped / "2" / "report")[2]
    assert last.responses is not None
    assert len(last.responses) == 0
    assert last.pseudo_pairs is not None
    assert {"gold", "previous_gold"} <= set(last.pseudo_pairs.column_names)
    assert last.generations is not None
    assert len(last.generations) > 0


@pytest.mark.parametrize("data", ["[]", "[1]", '[{"iteration": 0}]', '[{"metrics": {}}]'])
def test_data_of_another_shape_are_one_line(data: str, tmp_path: Path) -> None:
    (tmp_path / "data.json").write_text(data)
    with pytest.raises(InputError, match="not the iterations of a report"):
        past.read(tmp_path)


@pytest.mark.parametrize("name", ["duels.parquet", "dpo.csv"])
def test_file_that_is_cut_is_one_line_and_a_strange_one_is_left_alone(
    name: str, tmp_path: Path
) -> None:
    (tmp_path / "data.json").write_text('[{"iteration": 0, "metrics": {}}]')
    folder = tmp_path / "past" / "0"
    folder.mkdir(parents=True)
    (folder / "mine.csv").write_text("a\n1\n")
    assert past.read(tmp_path) == [Past(0, {})]
    (folder / name).write_bytes(b"")
    with pytest.raises(InputError, match=f"{name}: not readable"):
        past.read(tmp_path)


def test_number_that_is_not_finite_is_none(tmp_path: Path) -> None:
    (tmp_path / "data.json").write_text('[{"iteration": 0, "metrics": {}}]')
    strange = [0.5, None, float("nan"), float("inf"), float("-inf"), 1e308]
    data = pa.table({"reward": strange, "length_tokens": range(6)}, metadata={"said": "kept"})
    past.keep(tmp_path, "0", {"rewards": data})
    files.write_bytes(tmp_path / "past" / "0" / "dpo.csv", b"step,loss\n1,nan\n2,-inf\n3,0.5\n")
    [one] = past.read(tmp_path)
    assert one.rewards is not None
    assert one.rewards["reward"].to_pylist() == [0.5] + [None] * 5
    assert one.rewards.schema.metadata == {b"said": b"kept"}
    assert one.dpo is not None
    assert one.dpo["loss"].to_pylist() == [None, None, 0.5]
