"""What is kept of a unit: one small Parquet file of numbers, and how it came about."""

import io
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from mutual_taught.artifacts.files import write_bytes
from mutual_taught.errors import InputError
from study.plan import ROOT, Unit

FOLDER = ROOT / "study" / "results"
ABOUT = b"study.unit"
DONE, REFUSED, FAILED = "done", "refused", "failed"
SCHEMA = pa.schema(
    [
        pa.field("t", pa.int64(), False),
        pa.field("measure", pa.string(), False),
        pa.field("subset", pa.string(), False),
        pa.field("prompt_id", pa.string(), False),
        pa.field("value", pa.float64(), False),
        pa.field("n", pa.int64(), False),
    ]
)


class ResultRow(NamedTuple):
    """A number of a unit.

    Attributes:
        t: iteration.
        measure: what it is, such as `gold`; of a stage's metrics `eval.policy.gold.mean`.
        subset: of which instruction; "" for all.
        prompt_id: of which prompt, the mean over its responses or pairs; "" for a number of the
            run.
        value: the number.
        n: how many responses or pairs it is the mean of.
    """

    t: int
    measure: str
    subset: str
    prompt_id: str
    value: float
    n: int


class Result(NamedTuple):
    """A unit's rows, and what it was: unit, status, line, machine, seconds, commit, date."""

    about: dict[str, Any]
    rows: pa.Table

    @property
    def unit(self) -> Unit:
        """Say which unit it is of."""
        return Unit(self.about["arm"], self.about["seed"], self.about["format"])


def path(folder: Path, unit: Unit) -> Path:
    """Locate a unit's file."""
    return folder / f"{unit.name}.parquet"


def write(place: Path, about: dict[str, Any], rows: Iterable[ResultRow]) -> None:
    """Write a unit's file, whole or not at all; rows in a fixed order."""
    table = pa.Table.from_pylist([row._asdict() for row in sorted(rows)], SCHEMA)
    text = json.dumps(about, sort_keys=True, allow_nan=False)
    buffer = io.BytesIO()
    pq.write_table(
        table.replace_schema_metadata({ABOUT: text.encode()}), buffer, compression="zstd"
    )
    write_bytes(place, buffer.getvalue())


def read(place: Path) -> Result:
    """Read a unit's file.

    Raises:
        InputError: it is none.
    """
    try:
        with pq.ParquetFile(place) as file:
            table = file.read()
        about = json.loads((table.schema.metadata or {})[ABOUT])
        if not table.schema.remove_metadata().equals(SCHEMA):
            raise ValueError("other columns")
        Unit(about["arm"], about["seed"], about["format"])
    except (pa.ArrowInvalid, OSError, KeyError, ValueError, TypeError) as error:
        reason = " ".join(str(error).split())[:100]
        raise InputError(
            f"{place}: no result of the study ({reason}); expected what python -m study run "
            "writes; remove it, and run the unit again"
        ) from None
    return Result(about, table.replace_schema_metadata())


def read_all(folder: Path) -> list[Result]:
    """Read all units' files below a folder, in order of their paths."""
    return [read(place) for place in sorted(folder.rglob("*.parquet"))]
