"""AlpacaEval's public files for length control: `df_gamed.csv`, `instruction_difficulty.csv`."""

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mutual_taught.errors import InputError, MissingFileError, first_line
from mutual_taught.evaluation.benchmarks.files import some
from mutual_taught.evaluation.benchmarks.length_controlled import FOLDS, Rows
from mutual_taught.method.arrays import Floats
from mutual_taught.terminal.signs import excerpt

GAMED = ("preference", "index", "std_delta_len", "instruction_difficulty", "not_gamed_baseline")
DIFFICULTY = ("index", "instruction_difficulty")
EXPECTED = (
    f"df_gamed.csv ({', '.join(GAMED)}) and, if you like, instruction_difficulty.csv "
    f"({', '.join(DIFFICULTY)}), both of data set tatsu-lab/alpaca_eval"
)
CLOSE = 1e-6  # between the two files' difficulties


class Gamed(NamedTuple):
    """Rows of the gamed baselines in the file's order, and each instruction's difficulty."""

    rows: Rows
    difficulty: Floats


class Line(NamedTuple):
    """A row of a table: its number, from 1 after the header, and its columns by name."""

    number: int
    cells: Mapping[str, str]


def read(paths: Sequence[Path], count: int) -> Gamed:
    """Read the two files, told apart by their columns.

    Instructions are known by `index`, their place in the data set. Where both files are given they
    have to agree; AlpacaEval itself takes the difficulty from df_gamed.csv.

    Args:
        paths: df_gamed.csv, and perhaps instruction_difficulty.csv.
        count: of the instructions in the data set.

    Raises:
        InputError: a file is neither; df_gamed.csv is not there, or either twice; a cell is no
            number; an instruction has no difficulty, or two; the files do not agree.
    """
    tables: dict[tuple[str, ...], tuple[Path, list[Line]]] = {}
    for path in paths:
        lines = _lines(path)
        kind = GAMED if "std_delta_len" in lines[0].cells else DIFFICULTY
        if missing := [name for name in kind if name not in lines[0].cells]:
            raise InputError(f"{path}: lacks {', '.join(missing)}; expected {EXPECTED}")
        if kind in tables:
            raise InputError(f"{path}: of the same kind as {tables[kind][0]}; expected {EXPECTED}")
        tables[kind] = path, lines
    if GAMED not in tables:
        raise InputError(f"judgements: no df_gamed.csv; expected {EXPECTED}")
    gamed = _gamed(*tables[GAMED], count)
    if (found := np.isfinite(gamed.rows.preference).sum()) < FOLDS:
        raise InputError(
            f"{tables[GAMED][0]}: {found} rows with a preference; expected at least {FOLDS}, one a "
            "fold of its cross-validation"
        )
    if DIFFICULTY in tables:
        _require_equal(*tables[DIFFICULTY], gamed.difficulty)
    return gamed


def _lines(path: Path) -> list[Line]:
    if not path.is_file():
        raise MissingFileError(f"{path} does not exist; expected {EXPECTED}")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = [Line(*pair) for pair in enumerate(csv.DictReader(file, restval=""), 1)]
    except (csv.Error, UnicodeDecodeError) as error:
        raise InputError(
            f"{path}: no CSV ({excerpt(first_line(error))}); expected {EXPECTED}"
        ) from None
    if not lines:
        raise InputError(f"{path}: has no row; expected {EXPECTED}")
    return lines


def _gamed(path: Path, lines: Sequence[Line], count: int) -> Gamed:
    values = np.array([[_number(path, line, name) for name in GAMED[:4]] for line in lines])
    difficulty, wrong, seen = np.full(count, np.nan), [], set()
    for line, (_, at, _, one) in zip(lines, values, strict=True):
        known = difficulty[int(at)] if at in range(count) else np.nan
        if at not in range(count):
            wrong.append(f"row {line.number}: index is {at:g}; expected 0 to {count - 1}")
        elif fault := _fault(line, (line.cells.get("model"), at) in seen, one, known):
            wrong.append(f"row {line.number}: {fault}")
        else:
            difficulty[int(at)] = one if np.isnan(known) else known
            seen.add((line.cells.get("model") or line.number, at))
    wrong += [f"no row of index {at}" for at in np.flatnonzero(np.isnan(difficulty))]
    _refuse(path, wrong, f"every index from 0 to {count - 1}, once a baseline")
    return Gamed(Rows(values[:, 0], values[:, 2], values[:, 3]), difficulty)


def _fault(line: Line, again: bool, difficulty: float, known: float) -> str:
    """Say what is wrong with a row of an index that exists; empty if nothing is."""
    if line.cells["not_gamed_baseline"] != "False":
        return "not_gamed_baseline is not False"
    if again:
        return f"index {line.cells['index']} of {excerpt(line.cells['model'])} again"
    if abs(known - difficulty) > CLOSE:
        return f"difficulty is {difficulty:g}, of the same index {known:g}"
    return ""


def _require_equal(path: Path, lines: Sequence[Line], difficulty: Floats) -> None:
    """Refuse difficulties that are not those of df_gamed.csv."""
    wrong, seen = [], set()
    for line in lines:
        at, one = (_number(path, line, name) for name in DIFFICULTY)
        if at not in range(len(difficulty)) or at in seen:
            wrong.append(f"row {line.number}: index is {at:g}, again or too large")
            continue
        seen.add(at)
        if abs(one - difficulty[int(at)]) > CLOSE:
            wrong.append(f"row {line.number}: {one:g}, in df_gamed.csv {difficulty[int(at)]:g}")
    wrong += [f"no row of index {at}" for at in range(len(difficulty)) if at not in seen]
    _refuse(path, wrong, "both files of one revision")


def _number(path: Path, line: Line, name: str) -> float:
    """Take a cell as a number; only a preference may be missing."""
    text = line.cells[name]
    try:
        value = float(text) if text or name != "preference" else math.nan
    except ValueError:
        value = math.inf
    if math.isinf(value) or (math.isnan(value) and name != "preference"):
        raise InputError(
            f"{path}: row {line.number}: {name} is {text[:40]!r}; expected a number; {EXPECTED}"
        )
    return value


def _refuse(path: Path, wrong: Sequence[str], expected: str) -> None:
    if wrong:
        raise InputError(f"{path}: {some(wrong)}; expected {expected}")
