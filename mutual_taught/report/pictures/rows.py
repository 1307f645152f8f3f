"""What a picture is drawn from: rows of plain values, which Vega-Lite takes as JSON."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mutual_taught.report.past import Past

Value = float | str | bool | None
Row = dict[str, Value]
Rows = list[Row]
Floats = NDArray[np.float64]


class Seen(NamedTuple):
    """An iteration as a picture sees it: what the report remembers of it, and two parameters.

    seed: the run's, of every bootstrap. threshold: tau; None where the last candidate is taken
    whatever its win rate.
    """

    past: Past
    seed: int
    threshold: float | None

    @property
    def iteration(self) -> int:
        """T of the method."""
        return self.past.iteration

    @property
    def responses(self) -> pa.Table | None:
        """The eval responses, unless an earlier iteration's are carried on."""
        return None if self.past.carried else self.past.generations


def number(column: pa.ChunkedArray) -> Floats:
    """Give a column of numbers as floats, NaN where there is none."""
    return np.asarray(column.to_numpy(), np.float64)


def place(column: pa.ChunkedArray) -> NDArray[np.int64]:
    """Number the ids of a column, alike where they are alike."""
    codes = pc.dictionary_encode(column.combine_chunks()).indices
    return np.asarray(codes.to_numpy(), np.int64)


def iterations(rows: Iterable[Row]) -> list[int]:
    """List the iterations that rows are of, ascending."""
    return sorted({int(str(row["t"])) for row in rows})


def plain(value: float) -> float | None:
    """Give a number that JSON can hold, with six digits; None for NaN."""
    return float(f"{value:.6g}") if np.isfinite(value) else None
