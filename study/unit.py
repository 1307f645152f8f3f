"""One unit in a process of its own: its folder, its stages, its numbers."""

import datetime
import io
import os
import shutil
import threading
import time
import traceback
from pathlib import Path
from typing import Any, NamedTuple

import click
from ruamel.yaml import YAML

from mutual_taught.artifacts.files import write_bytes
from mutual_taught.config import params
from mutual_taught.errors import MutualTaughtError, first_line
from mutual_taught.pipeline import work
from mutual_taught.pipeline.watchdog import started_by, watch
from mutual_taught.terminal import process
from study import machine, made_of, measure, preferences, results, stages
from study.cache import Cache, remove
from study.plan import ROOT, StudyPlan, Unit, values

COPIED = ("data", "presets")  # what stages read of the project, from the folder they run in
CHANGED = "the code changed while the unit ran; run it --again"
LINKED = "models"  # what params.yaml may name besides, if it is there: too large to copy


class Places(NamedTuple):
    """Folders of the study: units at work, finished stages, results."""

    work: Path
    cache: Path
    results: Path


class Outcome(NamedTuple):
    """How a unit ended.

    Attributes:
        status: `done`, `refused` or `failed`.
        line: what was refused, or went wrong.
        rows: its numbers.
        seconds: what its stages took, also those that another unit had computed.
        here: how many stages were computed by this unit.
    """

    status: str
    line: str
    rows: list[results.ResultRow]
    seconds: float
    here: int


def run(plan: StudyPlan, unit: Unit, places: Places, most: float) -> None:
    """Compute a unit and write its results; what it refuses is its result, too.

    A unit that was killed goes on: finished stages come from the cache, and a stage that was at
    work goes on with its parts.

    Args:
        plan: the study.
        unit: which one.
        places: folders.
        most: bytes of finished stages to keep.
    """
    process.begin()
    threading.Thread(target=watch, args=(started_by(),), daemon=True).start()
    begin, cache, code = time.monotonic(), Cache(places.cache), machine.code()
    outcome = attempt(plan, unit, places.work / unit.name, cache)
    os.chdir(ROOT)
    if machine.code() != code:  # stages import late: some ran the old code, some the new
        outcome = Outcome(results.FAILED, CHANGED, [], outcome.seconds, outcome.here)
    about = {
        **described(plan, unit, outcome.status, outcome.line),
        "seconds": round(outcome.seconds, 1),
        "seconds_here": round(time.monotonic() - begin, 1),
        "stages_here": outcome.here,
    }
    results.write(results.path(places.results, unit), about, outcome.rows)
    click.echo(f"{unit.name}: {outcome.status} {outcome.line}".rstrip())
    remove(places.work / unit.name)
    cache.shrink(most)


def attempt(plan: StudyPlan, unit: Unit, folder: Path, cache: Cache) -> Outcome:
    """Compute a unit; whatever goes wrong is an outcome, because the next unit may go well."""
    try:
        os.chdir(prepare(plan, unit, folder))
        return _compute(cache)
    except click.ClickException as error:
        return Outcome(results.REFUSED, error.format_message(), [], 0.0, 0)
    except MutualTaughtError as error:
        return Outcome(results.REFUSED, str(error), [], 0.0, 0)
    except Exception as error:
        traceback.print_exc()
        return Outcome(results.FAILED, first_line(error), [], 0.0, 0)


def _compute(cache: Cache) -> Outcome:
    """Run all stages in the working directory, and measure what they made."""
    made, rows = list[stages.Done](), list[results.ResultRow]()
    for done in stages.run(cache, machine.kind()):
        name, _, t = done.stage.partition("@")
        made.append(done)
        rows.append(results.ResultRow(int(t or 0), f"seconds.{name}", "", "", done.seconds, 1))
        click.echo(f"{done.stage}: {done.seconds:.1f} s{'' if done.here else ', shared'}")
    seconds, here = sum(done.seconds for done in made), sum(done.here for done in made)
    return Outcome(results.DONE, "", [*rows, *measure.rows(Path("run"))], seconds, here)


def described(plan: StudyPlan, unit: Unit, status: str, line: str) -> dict[str, Any]:
    """Say what a unit was, on which machine and by which code."""
    return {
        **unit._asdict(),
        "is": plan.arms[unit.arm].is_,
        "testbed": plan.testbed(unit.arm),
        **(made_of.made_of(plan, unit) if status == results.DONE else {}),
        "status": status,
        "line": line,
        "machine": machine.kind(),
        "versions": work.versions(),
        "commit": machine.commit(),
        "code": machine.code(),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }


def prepare(plan: StudyPlan, unit: Unit, folder: Path) -> Path:
    """Lay out what the stages of a unit read: params, data and presets; what is there stays.

    Raises:
        InputError: the values are not valid, or there are too few seed preferences.
    """
    written = {params.PARAMS: values(plan, unit)}
    if plan.arms[unit.arm].later:
        written[stages.LATER] = values(plan, unit, later=True)
    folder.mkdir(parents=True, exist_ok=True)
    for name in COPIED:
        remove(folder / name)
        shutil.copytree(ROOT / name, folder / name)
    remove(folder / LINKED)
    if (ROOT / LINKED).exists():
        (folder / LINKED).symlink_to(ROOT / LINKED)
    if (change := plan.arms[unit.arm].preferences) is not None:
        preferences.change(change, folder / "data" / "seed_preferences.parquet", unit.seed)
    remove(folder / stages.LATER)
    for path, raw in written.items():
        sink = io.BytesIO()
        YAML(typ="safe", pure=True).dump(raw, sink)
        write_bytes(folder / path, sink.getvalue())
    return folder
