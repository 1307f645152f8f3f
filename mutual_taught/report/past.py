"""What a report remembers of every iteration: its metrics, curves and tables, without long texts.

A report is over iterations 0 to t, and its stage reads only the files of t. So each report keeps
what the later ones draw and write: `past/<t>/` has the tables of an iteration without the columns
of texts and tokens, and its curves. Pictures are functions of a `History`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from mutual_taught.artifacts import files, tables
from mutual_taught.errors import InputError
from mutual_taught.terminal.signs import excerpt

FOLDER = "past"
OF_EVALUATION = (tables.GENERATIONS, tables.JUDGEMENTS, tables.RM_SCORES)
OF_STEPS = (
    tables.RESPONSES,
    tables.REWARDS,
    tables.RANKED_PAIRS,
    tables.DUELS,
    tables.PSEUDO_PAIRS,
)
INSTRUCTIONS = "instructions"
CURVES = ("dpo", "train_rm")
LARGEST = 1e15  # no number of a run is near it; a picture that went so far would show nothing
LEFT_OUT = {"response", "previous_response", "seed", "previous_seed"}


class Past(NamedTuple):
    """What is kept of iteration t.

    A table has the columns of its schema but for texts, seeds and lists, all rows in their order,
    and the metadata of the file it is from. It is None where the iteration has no such file, and
    without rows where the run had stopped before; likewise a curve, one logged step a row.
    `metrics` are the numbers of its stages: stage -> name -> number. `instructions` has
    `prompt_id` and `instruction_ids` (a list) of the eval prompts. `pseudo_pairs` has the columns
    `gold` and `previous_gold` in every run, null where a prompt has no instructions.
    """

    iteration: int
    metrics: Mapping[str, Mapping[str, float]]
    instructions: pa.Table | None = None
    generations: pa.Table | None = None
    judgements: pa.Table | None = None
    rm_scores: pa.Table | None = None
    responses: pa.Table | None = None
    rewards: pa.Table | None = None
    ranked_pairs: pa.Table | None = None
    duels: pa.Table | None = None
    pseudo_pairs: pa.Table | None = None
    dpo: pa.Table | None = None
    train_rm: pa.Table | None = None

    @property
    def carried(self) -> bool:
        """Whether its evaluation is an earlier iteration's: a stopped one evaluates nothing."""
        return self.metrics.get("eval", {}).get("active") == 0


History = Sequence[Past]  # iterations 0 to t in order


def entries(history: History) -> list[dict[str, Any]]:
    """Give iterations as `data.json` has them: `iteration`, and `metrics` by stage."""
    return [{"iteration": one.iteration, "metrics": one.metrics} for one in history]


def keep(report: Path, iteration: str, found: Mapping[str, pa.Table]) -> None:
    """Keep tables of an iteration in its report.

    Args:
        report: folder of the report, `run/<t>/report`.
        iteration: t.
        found: by their names as fields of `Past`, with all their columns.
    """
    for name, data in found.items():
        kept = data if name == INSTRUCTIONS else without_texts(data)
        sink = pa.BufferOutputStream()
        pq.write_table(kept, sink, compression="zstd", row_group_size=tables.ROW_GROUP)
        path = report / FOLDER / iteration / f"{name}.parquet"
        files.write_bytes(path, sink.getvalue().to_pybytes())


def keep_curves(report: Path, iteration: str, curves: Path) -> None:
    """Keep the curves of an iteration in its report.

    Args:
        report: folder of the report.
        iteration: t.
        curves: folder of the iteration's curves.
    """
    for curve in CURVES:
        content = (curves / f"{curve}.csv").read_bytes()
        files.write_bytes(report / FOLDER / iteration / f"{curve}.csv", content)


def without_texts(data: pa.Table) -> pa.Table:
    """Leave out texts, seeds and lists: the columns that grow with the responses' lengths."""
    kept = [
        field.name
        for field in data.schema
        if field.name not in LEFT_OUT and not pa.types.is_list(field.type)
    ]
    return data.select(kept)


def carry(previous: Path, report: Path) -> None:
    """Take over what the previous report remembers.

    Args:
        previous: folder of the previous report.
        report: folder of this one.
    """
    for path in sorted((previous / FOLDER).rglob("*")):
        if path.is_file():
            files.write_bytes(report / path.relative_to(previous), path.read_bytes())


def read(report: Path) -> list[Past]:
    """Read what a report remembers, iterations in order; null where a number is not finite.

    Raises:
        MissingFileError: it has no `data.json`.
        InputError: a file is not as the report wrote it.
    """
    entries: list[dict[str, Any]] = files.read_json(report / "data.json", list)
    try:
        known = [(int(entry["iteration"]), dict(entry["metrics"])) for entry in entries]
    except (KeyError, TypeError, ValueError):
        known = []
    if not known:
        raise InputError(
            f"{report / 'data.json'}: not the iterations of a report; expected one at least; "
            "run dvc repro or dvc pull"
        )
    return [_past(report, t, metrics) for t, metrics in known]


def _past(report: Path, iteration: int, metrics: Mapping[str, Mapping[str, float]]) -> Past:
    folder = report / FOLDER / str(iteration)
    names = [INSTRUCTIONS, *(table.name for table in (*OF_EVALUATION, *OF_STEPS))]
    paths = [
        *(folder / f"{name}.parquet" for name in names),
        *(folder / f"{c}.csv" for c in CURVES),
    ]
    found = {path.stem: _table(path) for path in paths if path.exists()}
    return Past(iteration, metrics, **found)


def _table(path: Path) -> pa.Table:
    read = pq.read_table if path.suffix == ".parquet" else pyarrow.csv.read_csv
    try:
        return _finite(read(path))
    except pa.ArrowInvalid as error:
        raise InputError(
            f"{path}: not readable ({excerpt(str(error))}); expected a file of a report; "
            "run dvc repro or dvc pull"
        ) from None


def _finite(data: pa.Table) -> pa.Table:
    for place, field in enumerate(data.schema):
        if pa.types.is_floating(field.type):
            column = data[field.name]
            known = pc.less(pc.abs(column), LARGEST)
            data = data.set_column(place, field, pc.if_else(known, column, None))
    return data
