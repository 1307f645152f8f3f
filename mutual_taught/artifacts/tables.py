"""The Parquet tables that stages exchange: written whole or not at all, read with checks.

The schemas are in `schemas.py`. Who reads or writes tables finds them here, too.
"""

import hashlib
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mutual_taught.artifacts import table_checks
from mutual_taught.artifacts.digests import column_sha256
from mutual_taught.artifacts.files import write_bytes
from mutual_taught.artifacts.schemas import (
    ALL_PROMPTS,
    ANSWER_REWARDS,
    ANSWERS,
    DROPPED_PROMPTS,
    DUELS,
    EXCHANGED,
    FLAG,
    GENERATIONS,
    GOLD_PAIRS,
    INDEX,
    JUDGEMENTS,
    MESSAGES,
    NUMBER,
    PREVIOUS_ANSWERS,
    PROMPTS,
    PSEUDO_PAIRS,
    RANKED_PAIRS,
    RECORDS,
    REFUSED,
    RESPONSES,
    REWARD_PAIRS,
    REWARD_TRAINING,
    REWARDS,
    RM_SCORES,
    SEED_PAIRS,
    TEXT,
    TEXTS,
    TOKENS,
    TOO_LONG,
    UNSCORED,
    VERDICTS,
    renamed,
    split,
)
from mutual_taught.artifacts.table import Table
from mutual_taught.artifacts.version import VERSION
from mutual_taught.errors import InputError, MissingFileError

__all__ = [
    "ALL_PROMPTS",
    "ANSWERS",
    "ANSWER_REWARDS",
    "DROPPED_PROMPTS",
    "DUELS",
    "EXCHANGED",
    "FLAG",
    "GENERATIONS",
    "GOLD_PAIRS",
    "INDEX",
    "JUDGEMENTS",
    "MESSAGES",
    "NUMBER",
    "PREVIOUS_ANSWERS",
    "PROMPTS",
    "PSEUDO_PAIRS",
    "RANKED_PAIRS",
    "RECORDS",
    "REFUSED",
    "RESPONSES",
    "REWARDS",
    "REWARD_PAIRS",
    "REWARD_TRAINING",
    "RM_SCORES",
    "SEED_PAIRS",
    "TEXT",
    "TEXTS",
    "TOKENS",
    "TOO_LONG",
    "UNSCORED",
    "VERDICTS",
    "Table",
    "column_digests",
    "digests",
    "empty",
    "encode",
    "is_active",
    "joined",
    "numbers",
    "provenance",
    "read",
    "renamed",
    "rows_digest",
    "said_digests",
    "split",
    "write",
]

ROW_GROUP = 65_536


def write(
    folder: Path,
    table: Table,
    rows: pa.Table | Mapping[str, object],
    provenance: Mapping[str, object],
    active: bool = True,
) -> Path:
    """Write a table to `folder/<name>.parquet`, sorted by its keys, whole or not at all.

    Args:
        folder: where to.
        table: its schema.
        rows: columns by name, in any order of rows.
        provenance: digests of the direct inputs' rows and the params that decide the result, under
            names of `table.made_from`.
        active: False marks a table that is empty because the iteration is stopped.

    Returns:
        The path of the file.

    Raises:
        InputError: a key occurs twice, there is no row although the iteration is active, or a
            column has more text than Arrow can hold.
        ValueError: provenance has a name that the schema does not know.
    """
    path = table.path(folder)
    write_bytes(path, encode(table, rows, provenance, active, path))
    return path


def encode(
    table: Table,
    rows: pa.Table | Mapping[str, object],
    provenance: Mapping[str, object],
    active: bool,
    path: Path,
) -> bytes:
    """Serialise a table as `write` does; `path` is for messages."""
    if unknown := table.made_from.unknown(provenance):
        raise ValueError(f"{path}: provenance names {', '.join(unknown)}; the schema does not")
    columns = rows if isinstance(rows, pa.Table) else pa.table(dict(rows), schema=table.schema)
    names = [*table.columns, *(name for name in table.switched if name in columns.column_names)]
    whole = columns.select(names).cast(table.schema_of(names))
    table_checks.check_texts(whole, path)
    data = table.sorted(whole.combine_chunks())
    if active and not len(data):
        raise InputError(f"{path}: would have no row; expected at least one")
    table_checks.check_distinct(data, table, path)
    columns_sha256 = column_digests(data)
    metadata = {
        "mutual_taught.version": VERSION,
        "mutual_taught.rows_sha256": joined(columns_sha256),
        "mutual_taught.columns_sha256": json.dumps(columns_sha256),
        "mutual_taught.active": json.dumps(active),
        "mutual_taught.provenance": json.dumps(provenance, sort_keys=True),
    }
    buffer = io.BytesIO()
    pq.write_table(
        data.replace_schema_metadata(metadata),
        buffer,
        compression="zstd",
        row_group_size=ROW_GROUP,
    )
    return buffer.getvalue()


def read(path: Path, table: Table) -> pa.Table:
    """Read a table and check its columns, keys, nulls and numbers.

    Raises:
        MissingFileError: there is no such file.
        InputError: it is no Parquet file, is of another version of the tables, lacks a column, has
            the wrong type, a null, a number that is NaN or infinite, or a repeated key, or is empty
            although its iteration is not stopped.
    """
    data = _read_parquet(path)
    table_checks.check_version(data, path)
    for name, kind in table.kinds.items():
        if name not in data.column_names:
            if name in table.switched:
                continue
            raise InputError(
                f"{path} lacks column {name!r} ({kind}); it has {', '.join(data.column_names)}"
            )
        if data.schema.field(name).type != kind:
            raise InputError(
                f"{path}: column {name!r} is {data.schema.field(name).type}; expected {kind}"
            )
        if data[name].null_count and name not in table.nullable:
            raise InputError(f"{path}: column {name!r} has {data[name].null_count} nulls")
        if kind == NUMBER:
            table_checks.check_finite(data, name, path)
    if not len(data) and is_active(data):
        raise InputError(f"{path} has no row; expected at least one; delete it and run dvc repro")
    table_checks.check_distinct(data, table, path)
    return data


def _read_parquet(path: Path) -> pa.Table:
    try:
        with pq.ParquetFile(path) as file:  # column by column: each is one chunk from the start
            data = file.read()
    except FileNotFoundError:
        raise MissingFileError(f"{path} does not exist; run dvc repro or dvc pull {path}") from None
    except (pa.ArrowInvalid, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{path}: not readable as Parquet ({reason})") from None
    table_checks.check_texts(data, path)
    return data.combine_chunks()


def is_active(data: pa.Table) -> bool:
    """Tell whether a table's iteration was active when it was made (True where nothing says)."""
    return bool((data.schema.metadata or {}).get(b"mutual_taught.active") != b"false")


def provenance(data: pa.Table) -> dict[str, Any]:
    """Read what a table says it was made from."""
    return _said(data, "provenance")


def column_digests(data: pa.Table) -> dict[str, str]:
    """Hash every column's values, whatever the metadata and chunks."""
    return {name: column_sha256(data[name]) for name in data.column_names}


def rows_digest(data: pa.Table) -> str:
    """Hash a table's rows (columns, order, values), whatever its metadata and chunks."""
    return joined(column_digests(data))


def joined(columns: Mapping[str, str]) -> str:
    """Make the digest of a table's rows from those of its columns."""
    return hashlib.sha256(json.dumps(list(columns.items())).encode()).hexdigest()


def said_digests(data: pa.Table) -> dict[str, Any]:
    """Read what a table says its digests are: of the `rows`, and of its `columns` by name."""
    rows = (data.schema.metadata or {}).get(b"mutual_taught.rows_sha256", b"")
    return {"rows": rows.decode(errors="replace"), "columns": _said(data, "columns_sha256")}


def _said(data: pa.Table, name: str) -> dict[str, Any]:
    """Read a mapping from a table's metadata.

    Raises:
        InputError: there is none.
    """
    text = (data.schema.metadata or {}).get(f"mutual_taught.{name}".encode(), b"null")
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise InputError(
            f"the table of {', '.join(data.column_names)}: its metadata mutual_taught.{name} is "
            f"{text.decode(errors='replace')[:40]}; expected a mapping; run dvc repro"
        )
    return found


def digests(**inputs: pa.Table) -> dict[str, str]:
    """Name the row digests of inputs, as provenance."""
    key = b"mutual_taught.rows_sha256"
    return {
        name: (data.schema.metadata or {}).get(key, b"").decode() or rows_digest(data)
        for name, data in inputs.items()
    }


def empty(folder: Path, *kinds: Table) -> None:
    """Write the tables of a stopped iteration: no rows, marked inactive."""
    for table in kinds:
        write(folder, table, table.schema.empty_table(), {}, active=False)


def numbers(values: NDArray[np.float64]) -> pa.Array:
    """Make a column of numbers: null where there is none (NaN). Read back, a null is NaN again."""
    return pa.array(values, NUMBER, from_pandas=True)
