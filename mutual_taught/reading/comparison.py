"""A comparison of runs as a table for the terminal, as CSV and as JSON."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

from mutual_taught.reading.compare import ComparisonRow, Spread, changed

NONE = "–"


def table(rows: Sequence[ComparisonRow], seeds: bool) -> list[list[str]]:
    """Lay out the comparison: a header, then a row for each.

    Columns: the name, how many seeds if they are pooled, parameters that differ, the paired change
    of gold and over how many prompts, then the summary.
    """
    differing, names = changed(rows, seeds), _names(rows)
    header = ["experiment", *["seeds"] * seeds, *differing, "gold - baseline", "prompts", *names]
    found = [header]
    for place, row in enumerate(rows):
        change = row.change
        count = max((number.n for number in row.numbers.values()), default=0)
        found.append(
            [
                row.name,
                *[str(count)] * seeds,
                *(_value(column[place], row) for column in differing.values()),
                f"{change.mean:+.3f} [{change.ci_lo:.3f}, {change.ci_hi:.3f}]" if change else NONE,
                str(change.n) if change else NONE,
                *(_number(row.numbers.get(name)) for name in names),
            ]
        )
    return found


def as_json(rows: Sequence[ComparisonRow], seeds: bool) -> str:
    """Give the comparison as a list of objects, numbers in full."""
    differing = changed(rows, seeds)
    return json.dumps(
        [
            _record(row, {key: column[place] for key, column in differing.items()})
            for place, row in enumerate(rows)
        ],
        indent=2,
    )


def as_csv(rows: Sequence[ComparisonRow], seeds: bool) -> str:
    """Give the comparison as CSV, numbers in full; what is not known is empty."""
    differing, names = changed(rows, seeds), _names(rows)
    sink = io.StringIO()
    writer = csv.writer(sink, lineterminator="\n")
    change = ["gold_difference", "gold_difference_lo", "gold_difference_hi", "prompts"]
    spreads = [column for name in names for column in (name, *[f"{name}_sd", f"{name}_n"] * seeds)]
    writer.writerow(["experiment", *differing, *change, *spreads])
    for place, row in enumerate(rows):
        cells: list[object] = [row.name, *(column[place] for column in differing.values())]
        cells += row.change or [None] * 4
        for name in names:
            number = row.numbers.get(name) or (None, None, None)
            cells += number if seeds else number[:1]
        writer.writerow(cells)
    return sink.getvalue()


def _record(row: ComparisonRow, differing: Mapping[str, object]) -> dict[str, Any]:
    return {
        "experiment": row.name,
        "runs": [run.name for run in row.runs],
        "parameters": dict(differing),
        "gold_difference": row.change._asdict() if row.change else None,
        "summary": {name: number._asdict() for name, number in row.numbers.items()},
        "notes": list(row.notes),
    }


def _names(rows: Sequence[ComparisonRow]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row.numbers))


def _value(value: object, row: ComparisonRow) -> str:
    if row.runs[0].values is None:
        return NONE
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _number(number: Spread | None) -> str:
    if number is None:
        return NONE
    spread = "" if number.sd is None else f" ± {_short(number.sd)}"
    return _short(number.mean) + spread


def _short(value: float) -> str:
    if value == round(value):
        return f"{value:.0f}"
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"
