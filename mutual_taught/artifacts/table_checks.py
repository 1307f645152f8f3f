"""What a table must be before it is written or used: texts that fit, numbers, distinct keys."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mutual_taught.artifacts.table import Table
from mutual_taught.artifacts.version import VERSION
from mutual_taught.errors import InputError

TEXT_BYTES = 2**31 - 1  # of a column: Arrow counts where its strings begin in 32 bits


def check_version(data: pa.Table, path: Path) -> None:
    """Refuse what another version of this package wrote; a table of the user's own has none."""
    said = (data.schema.metadata or {}).get(b"mutual_taught.version", VERSION.encode())
    if said.decode(errors="replace") != VERSION:
        remedy = "run dvc repro, or dvc repro -f with its stage if that is up to date"
        if path.name == "seed_preferences.parquet":
            remedy = "make it anew with mutual-taught seed-preferences"
        raise InputError(
            f"{path} is of version {said.decode(errors='replace')[:20]!r} of the tables; expected "
            f"{VERSION!r}; {remedy}"
        )


def check_texts(data: pa.Table, path: Path) -> None:
    """Refuse a column that Arrow could not hold in one piece, which sorting and joining need."""
    for name in data.column_names:
        if (size := _text_bytes(data[name])) > TEXT_BYTES:
            raise InputError(
                f"{path}: column {name!r} has {size:,} bytes of text; expected at most "
                f"{TEXT_BYTES:,}; take fewer prompts (data.splits) or responses a prompt"
            )


def _text_bytes(column: pa.ChunkedArray) -> int:
    """Count the bytes of a column's texts, in a list, too; of several fields, those of the most."""
    kind = column.type
    if pa.types.is_string(kind):
        return pc.sum(pc.binary_length(column)).as_py() or 0
    if pa.types.is_list(kind):
        return _text_bytes(pc.list_flatten(column))
    if pa.types.is_struct(kind):
        return max(_text_bytes(pc.struct_field(column, [at])) for at in range(kind.num_fields))
    return 0


def check_finite(data: pa.Table, name: str, path: Path) -> None:
    """Refuse a number that is NaN or infinite; where there is none, the column has a null."""
    if pc.all(pc.is_finite(data[name])).as_py() is False:  # nulls do not count
        row = pc.is_finite(data[name]).to_pylist().index(False)
        raise InputError(
            f"{path}: row {row + 1}: {name} is {data[name][row].as_py()}; expected a number"
        )


def check_distinct(data: pa.Table, table: Table, path: Path) -> None:
    """Refuse rows with the same key; in a written table they are neighbours."""
    if len(data) < 2:
        return
    repeated = pa.chunked_array([pa.array(np.ones(len(data) - 1, bool))])
    for key in table.keys:
        column = data[key].combine_chunks()
        repeated = pc.and_(repeated, pc.equal(column[1:], column[:-1]))
    if pc.any(repeated).as_py():
        row = repeated.to_pylist().index(True)
        values = ", ".join(f"{key} {data[key][row].as_py()!r}" for key in table.keys)
        raise InputError(f"{path}: row {row + 2}: {values} occurs twice")
