"""A value that is altered, with every digest made anew, is found: a column of each table.

tests/whole/audit has all columns, and all that tables and models say of how they were made.
"""

import json
from pathlib import Path

import pytest

from tests.audit.forged import AT, CELLS, NEEDS_MODEL, forge
from tests.audit.test_verify_whole import copy, found, write

SAMPLE = [
    next(
        cell for cell in reversed(CELLS) if cell[0].endswith(f"/{name}") and cell not in NEEDS_MODEL
    )
    for name in AT
]


@pytest.fixture
def run(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return copy(finished, tmp_path, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "column"), SAMPLE)
def test_altered_value_is_found_without_a_model(run: Path, name: str, column: str) -> None:
    forge(run, name, column)
    assert found()


# Only a training can tell these: docs/reading.md lists them.
NEEDS_TRAINING = {
    "dpo": {"loss", "grad_norm", "rewards/accuracies"},
    "train_rm": {"grad_norm"},
}


@pytest.mark.slow
@pytest.mark.parametrize("stage", NEEDS_TRAINING)
def test_altered_value_of_a_curve_is_found_unless_only_a_training_can_tell(
    run: Path, stage: str
) -> None:
    path = run / "1" / "curves" / f"{stage}.csv"
    header, first, *rest = path.read_text().splitlines()
    unfound = set()
    for place, name in enumerate(header.split(",")):
        cells = first.split(",")
        cells[place] = str(float(cells[place]) + 1)
        write(path, "\n".join([header, ",".join(cells), *rest, ""]))
        if not found():
            unfound.add(name)
    assert unfound == NEEDS_TRAINING[stage]


@pytest.mark.slow
def test_every_number_of_every_metrics_file_is_found_if_it_is_altered(run: Path) -> None:
    altered = set()
    for path in run.glob("*/metrics/*.json"):
        values = json.loads(path.read_text())
        altered |= {f"{path}: {name}" for name in values}
        # Each by another amount, for the summary repeats numbers of the other files.
        write(path, json.dumps({name: values[name] + n for n, name in enumerate(values, 7)}))
    said = {line.split(" is ")[0] for line in found()}
    assert altered - said == set()
    assert len(altered) > 200
