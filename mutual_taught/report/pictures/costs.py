"""Time, tokens a second and peak memory by stage: what the run cost. Of no report in DVC."""

from collections.abc import Mapping
from typing import NamedTuple

import altair as alt

from mutual_taught.report.page import Picture
from mutual_taught.report.pictures.rows import Row, Rows, iterations
from mutual_taught.report.pictures.theme import by_iteration, drawn, shaped

NAME = "costs"
TITLE = "What did each stage cost?"
SECONDS = "seconds"
NUMBERS = {
    SECONDS: "time",
    "tokens_per_second": "tokens a second",
    "peak_memory_gb": "peak memory, GiB",
}
SAYS = (
    "Time, speed and peak memory of the process of each stage, a point an iteration, the stages by "
    "their time. Speed is of stages that draw answers. The numbers are of the machine that "
    "computed the stage's results, which need not be this one."
)


class Unit(NamedTuple):
    """A unit of time with its seconds."""

    name: str
    seconds: float


def unit_of(seconds: float) -> Unit:
    """Choose the unit of an axis that goes to so many seconds: at least five of the unit."""
    units = (Unit("hours", 3600.0), Unit("minutes", 60.0))
    return next((u for u in units if seconds >= 5 * u.seconds), Unit("seconds", 1.0))


def rows(known: Mapping[str, Mapping[str, float]]) -> Rows:
    """Give the numbers that are shown, of stages by name: `dpo@1`, or `eval_base` of t = 0."""
    return [
        {"t": int(t or 0), "stage": stage, "number": name, "value": float(numbers[name])}
        for key, numbers in known.items()
        for stage, _, t in [key.partition("@")]
        for name in NUMBERS
        if name in numbers
    ]


def draw(found: Rows) -> Picture | None:
    """Draw points by stage, a panel a number; stages stand in the order of their time."""
    if not found:
        return None
    unit = unit_of(max((_value(row) for row in found if row["number"] == SECONDS), default=0.0))
    shown = [_said(_in_unit(row, unit), unit) for row in found]
    panels = [
        _panel([row for row in shown if row["number"] == name], title, by_time(found), place == 0)
        for place, (name, title) in enumerate({**NUMBERS, SECONDS: f"time, {unit.name}"}.items())
        if any(row["number"] == name for row in found)
    ]
    return drawn(alt.hconcat(*panels, spacing=14), NAME, TITLE, SAYS)


def by_time(found: Rows) -> list[str]:
    """Order stages by their time over all iterations, the longest first."""
    time: dict[str, float] = {}
    for row in found:
        if row["number"] == SECONDS:
            time[str(row["stage"])] = time.get(str(row["stage"]), 0.0) + _value(row)
    return sorted(time, key=lambda stage: (-time[stage], stage))


def _value(row: Row) -> float:
    return float(str(row["value"]))


def _in_unit(row: Row, unit: Unit) -> Row:
    return {**row, "value": _value(row) / unit.seconds} if row["number"] == SECONDS else row


def _said(row: Row, unit: Unit) -> Row:
    name = unit.name if row["number"] == SECONDS else NUMBERS[str(row["number"])]
    return {**row, "says": f"{row['stage']}, t = {row['t']}: {_value(row):.4g}, {name}"}


def _panel(found: Rows, title: str, order: list[str], first: bool) -> alt.Chart:
    known = iterations(found)
    return (
        alt.Chart(alt.Data(values=found))
        .mark_point(filled=True, size=60, opacity=0.85)
        .encode(
            y=alt.Y(
                "stage:N",
                title=None,
                sort=order,
                scale=alt.Scale(domain=order),
                axis=alt.Axis(labels=first, ticks=first, labelLimit=160, grid=True),
            ),
            x=alt.X(
                "value:Q", title=title, axis=alt.Axis(tickCount=4), scale=alt.Scale(domainMin=0)
            ),
            color=by_iteration(known),
            shape=shaped(known),
            description="says:N",
        )
        .properties(width=160, height=alt.Step(18))
    )
