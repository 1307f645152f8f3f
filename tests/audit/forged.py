"""A liar's means: one value altered, and every digest that names its table made anew."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mutual_taught.artifacts import tables
from mutual_taught.artifacts.manifests import MANIFEST

AT = {
    **{table.name: table for table in (*tables.EXCHANGED, tables.REWARD_TRAINING)},
    **{
        f"eval/{table.name}": table
        for table in (tables.GENERATIONS, tables.JUDGEMENTS, tables.RM_SCORES)
    },
    "prompts": tables.ALL_PROMPTS,
    "gold_pairs": tables.GOLD_PAIRS,
    "seed_pairs": tables.SEED_PAIRS,
    **{f"splits/{name}": tables.split(name) for name in ("policy", "reward", "selection", "eval")},
}

START = (
    "prompts",
    "gold_pairs",
    "seed_pairs",
    *(name for name in AT if name.startswith("splits/")),
)
CELLS = [
    (f"{0 if name in START else 1}/{name}", column)
    for name, table in AT.items()
    for column in table.columns
]
# Only a model can tell these: docs/reading.md lists them.
NEEDS_MODEL = {
    ("1/responses", "logprob"),
    ("1/ranked_pairs", "reference_chosen_logps"),
    ("1/ranked_pairs", "reference_rejected_logps"),
    ("1/duels", "reward"),  # as long as the same one wins
}


def other(value: Any, kind: pa.DataType) -> Any:
    """Give a value of the same type that is not the same, as near as a liar would take it."""
    if kind == tables.TOKENS:  # letters, for one half sign reads as another does
        return [*value[:-1], 71 if value[-1] == 70 else 70]
    if pa.types.is_list(kind):
        if pa.types.is_struct(kind.value_type):
            last = value[-1]
            return [*value[:-1], {**last, "content": f"{last['content']} "}]
        inner = kind.value_type
        return [*value[:-1], other(value[-1], inner)] if value else [other(None, inner)]
    if pa.types.is_boolean(kind):
        return not value
    if pa.types.is_string(kind):
        return (value or "") + "x"
    return (value or 0) + 1


def alter(path: Path, table: tables.Table, column: str, row: int) -> None:
    """Alter one value, and write the table's own digests over it."""
    data = pq.read_table(path)
    values = data[column].to_pylist()
    values[row] = other(values[row], table.columns[column])
    place = data.schema.get_field_index(column)
    field = data.schema.field(place)
    forged = data.set_column(place, field, pa.array(values, field.type))
    told, active = tables.provenance(data), tables.is_active(data)
    path.unlink()  # it may be a link into another test's run
    tables.write(path.parent, table, forged, told, active)


def sign_all(run: Path, before: str, after: str) -> None:
    """Write another digest wherever a table's or a model's provenance names an altered table."""
    for path, table in listed(run):
        data = pq.read_table(path)
        told = json.dumps(tables.provenance(data))
        if before in told:
            path.unlink()
            signed = json.loads(told.replace(before, after))
            tables.write(path.parent, table, data, signed, tables.is_active(data))
    for path in run.rglob(MANIFEST):
        text = path.read_text()
        if before in text:
            path.unlink()
            path.write_text(text.replace(before, after))


def listed(run: Path) -> Iterator[tuple[Path, tables.Table]]:
    """List all tables of a run."""
    for folder in sorted(run.iterdir()):
        for name, table in AT.items():
            path = folder / f"{name}.parquet"
            if path.exists():
                yield path, table


def forge(run: Path, name: str, column: str, row: int = 0) -> None:
    """Alter one value of a table (such as `1/responses`), and sign everything anew."""
    path, table = run / f"{name}.parquet", AT[name.split("/", 1)[1]]
    before = tables.rows_digest(pq.read_table(path))
    alter(path, table, column, row)
    # A table that names the altered one has the same rows, so one round is enough.
    sign_all(run, before, tables.rows_digest(pq.read_table(path)))
