"""How far a run has come: a file of its stages, and the line before each of them.

The file is `.work/runs/<number of the process>.json`, one for each `dvc repro`, `dvc exp run` or
`mutual-taught run`:

    {"order": ["dpo@1", "duel@1"], "planned": {"dpo@1": 170.0, "duel@1": null},
     "started": {"dpo@1": 1764115200.5}, "finished": {"dpo@1": 1764115371.0}}

`order` are the stages that were to run, `planned` their seconds (null if nothing tells), `started`
and `finished` seconds since 1970. A stage that is started and not finished runs, or has failed.
"""

import contextlib
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import psutil

from mutual_taught.artifacts.files import read_json, write_json
from mutual_taught.errors import InputError, MissingFileError, MutualTaughtError
from mutual_taught.pipeline import work
from mutual_taught.planning import graph, rates

SCHEDULE = "MUTUAL_TAUGHT_SCHEDULE"  # names the file of a run that was planned before
DOUBT = 0.1  # the plan counts as much as stages of this share of it that have finished


class Schedule(NamedTuple):
    """The stages of a run: see the module."""

    order: Sequence[str]
    planned: Mapping[str, float | None]
    started: Mapping[str, float]
    finished: Mapping[str, float]


def folder() -> Path:
    """Locate the files of runs."""
    return work.root() / "runs"


def read(path: Path) -> Schedule:
    """Read a run's file.

    Raises:
        MissingFileError: there is none.
        InputError: it is none.
    """
    values = read_json(path)
    try:
        order, *parts = (values[name] for name in Schedule._fields)
        if not isinstance(order, list) or not all(isinstance(part, dict) for part in parts):
            raise TypeError
        numbers = [value for part in parts for value in part.values() if value is not None]
        if not all(type(value) in (int, float) for value in numbers):
            raise TypeError
    except (KeyError, TypeError):
        raise InputError(
            f"{path}: is no file of a run; expected order, planned; remove it"
        ) from None
    return Schedule(order, *parts)


def create(planned: Mapping[str, float | None], pid: int) -> Path:
    """Write the file of a new run, and delete those of runs that have ended.

    Args:
        planned: seconds of each stage that is to run, in DVC's order.
        pid: number of the process that runs them.
    """
    for path in folder().glob("*.json"):
        if not (path.stem.isdecimal() and psutil.pid_exists(int(path.stem))):
            path.unlink(missing_ok=True)
    path = folder() / f"{pid}.json"
    write_json(path, Schedule(list(planned), dict(planned), {}, {})._asdict())
    return path


@contextlib.contextmanager
def noted(stage: str, dvc: psutil.Process | None) -> Iterator[None]:
    """Say which stage begins and how long is left, and note when it begins and ends.

    Nothing here may stop a stage: what cannot be read or written is left out. A command that ends
    well by `sys.exit`, as click's do, has ended the stage.

    Args:
        stage: as DVC names it.
        dvc: the process that runs the stages.
    """
    path: Path | None = None
    with contextlib.suppress(MutualTaughtError, OSError, KeyError, TypeError):
        path = _file(dvc)
        before = read(path)
        print(line(before, stage), file=sys.stderr, flush=True)
        finished = {name: end for name, end in before.finished.items() if name != stage}
        started = {**before.started, stage: time.time()}
        _write(path, before._replace(started=started, finished=finished))
    try:
        yield
    except SystemExit as end:
        if end.code:
            raise
    with contextlib.suppress(MutualTaughtError, OSError):
        if path is not None:
            after = read(path)
            _write(path, after._replace(finished={**after.finished, stage: time.time()}))


def _write(path: Path, schedule: Schedule) -> None:
    write_json(path, schedule._asdict())


def _file(dvc: psutil.Process | None) -> Path:
    """Find the file of this run; the first stage of a plain `dvc repro` makes it."""
    if place := os.environ.get(SCHEDULE):
        return Path(place)
    if dvc is None:
        raise MissingFileError("no process runs the stages")
    path = folder() / f"{dvc.pid}.json"
    if not path.exists() or path.stat().st_mtime < dvc.create_time():
        known = rates.history()
        near = {stage: rates.nearest(stage, known) for stage in graph.order()}
        planned = {stage: rates.whole(old) if old else None for stage, old in near.items()}
        create(planned, dvc.pid)
    return path


def line(schedule: Schedule, stage: str) -> str:
    """Say where a stage stands among those of the run, and what is left with it."""
    order = list(schedule.order)
    if stage not in order:
        return f"stage {stage}"
    left = seconds_left(schedule, stage)
    rest = "" if left is None else f", about {spell(left)} left"
    return f"stage {order.index(stage) + 1} of {len(order)}: {stage}{rest}"


def seconds_left(schedule: Schedule, stage: str) -> float | None:
    """Estimate the seconds from the start of a stage to the end of the run.

    The planned seconds, times how much longer than planned the finished stages took. That factor is
    drawn towards 1 by a tenth of the whole plan, so that a first short stage does not decide it.

    Returns:
        None if the time of a stage that is left is not known.
    """
    order = list(schedule.order)
    left = [schedule.planned.get(name) for name in order[order.index(stage) :]]
    known = [seconds for seconds in left if seconds is not None]
    if len(known) < len(left):
        return None
    planned, took = _finished(schedule)
    doubt = DOUBT * sum(seconds or 0.0 for seconds in schedule.planned.values())
    return sum(known) * (took + doubt) / (planned + doubt) if planned + doubt else 0.0


def _finished(schedule: Schedule) -> tuple[float, float]:
    """Sum what finished stages were planned to take, and what they took."""
    planned = took = 0.0
    for name, end in schedule.finished.items():
        expected = schedule.planned.get(name)
        if expected is not None and name in schedule.started:
            planned, took = planned + expected, took + end - schedule.started[name]
    return planned, took


def spell(seconds: float) -> str:
    """Write a time in its natural unit."""
    for unit, size, most in (("s", 1, 90), ("min", 60, 5400), ("h", 3600, 172800)):
        if seconds < most:
            return f"{max(seconds / size, 1):.0f} {unit}"
    return f"{seconds / 86400:.1f} days"
