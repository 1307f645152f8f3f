"""`mutual-taught verify` looks at every name under which a table says what it was made from."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from mutual_taught.artifacts import tables
from mutual_taught.audit.provenance import made_from
from mutual_taught.audit.run import EVAL, CheckedIteration, Run
from mutual_taught.config import params
from tests.audit.test_verify_whole import copy

APART = {"tolerance"}  # a number of the M-step, which is computed again with its pairs


@pytest.fixture
def run(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return copy(finished, tmp_path, monkeypatch)


def listed(run: Path) -> list[tuple[Path, tables.Table]]:
    """The tables of iteration 2 that name what they were made from."""
    made = [(table.path(run / "2"), table) for table in tables.EXCHANGED]
    made += [(table.path(run / "2" / "eval"), table) for table in EVAL]
    return [*made, (tables.REWARD_TRAINING.path(run / "2"), tables.REWARD_TRAINING)]


def faults(run: Path) -> list[str]:
    of = CheckedIteration(Run(run, ["2"]), "2", params.validate(params.read(params.PARAMS)))
    return [str(one) for one in made_from(of)]


def test_a_table_names_all_that_its_schema_does_beside_what_a_parameter_adds(run: Path) -> None:
    for path, table in listed(run):
        names = {*table.made_from.inputs, *table.made_from.terms}
        assert set(tables.provenance(tables.read(path, table))) == names, path


def test_every_name_of_every_table_is_looked_at(run: Path) -> None:
    params._parse.cache_clear()
    assert faults(run) == []
    for path, table in listed(run):
        honest, data = path.read_bytes(), pq.read_table(path)
        told = tables.provenance(data)
        for name in told.keys() - APART:
            path.unlink()  # it may be a link into another test's run
            tables.write(path.parent, table, data, {**told, name: "another"})
            found = faults(run)
            assert any(f"{path}: provenance {name} is" in line for line in found), (path, name)
        path.unlink()
        path.write_bytes(honest)
