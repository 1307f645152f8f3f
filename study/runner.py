"""Units one after the other, or several at once, each in a process of its own."""

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import IO, NamedTuple, NoReturn

import click

from mutual_taught.errors import InputError
from mutual_taught.pipeline.watchdog import STARTED_BY
from study import results
from study.plan import ROOT, Unit

ALIKE = 3  # units that fail one after another by one fault: the machine's, not theirs
PATIENCE = 0.3  # seconds between one look at the units at work and the next


class Settings(NamedTuple):
    """How to run.

    Attributes:
        hours: no unit is begun later than this.
        jobs: units at once.
        devices: values of CUDA_VISIBLE_DEVICES that jobs take in turn; none leaves it as it is.
        logs: folder of what the units say.
        results: folder of what they find.
        again: units that ended badly are run once more.
        command: the arguments after `python -m study unit NAME` that every unit gets.
    """

    hours: float
    jobs: int
    devices: tuple[str, ...]
    logs: Path
    results: Path
    again: bool
    command: tuple[str, ...]


class Job(NamedTuple):
    """A unit at work."""

    unit: Unit
    place: int
    process: subprocess.Popen[bytes]
    log: IO[bytes]
    lock: IO[bytes]


def pending(units: Sequence[Unit], folder: Path, again: bool) -> list[Unit]:
    """List the units without a result, in order; with `again` those that did not end well, too."""
    found = []
    for unit in units:
        place = results.path(folder, unit)
        if not place.exists() or (again and results.read(place).about["status"] != results.DONE):
            found.append(unit)
    return found


def take(waiting: Sequence[Unit], at_work: Sequence[Unit]) -> Unit:
    """Choose the next unit: the first whose seed and format nobody works at, else the first.

    Units of one seed and format share stages, so that the second would wait for the first.
    """
    busy = {unit.group for unit in at_work}
    return next((unit for unit in waiting if unit.group not in busy), waiting[0])


def run(
    waiting: list[Unit],
    settings: Settings,
    failed: Callable[[Unit, str], None],
    ended: Callable[[Unit], None],
) -> list[Unit]:
    """Run units until none is left or the time is over; those at work then are finished.

    A unit that another run on the same folders is at, or has finished since, is left to it.

    Args:
        waiting: units in order.
        settings: how.
        failed: called with a unit whose process ended without a result, and why.
        ended: called with every unit that has a result.

    Returns:
        The units that were not begun.

    Raises:
        InputError: several units in a row failed by the same fault.
    """
    signal.signal(signal.SIGTERM, _stop)
    deadline = time.monotonic() + settings.hours * 3600
    waiting, at_work, faults = list(waiting), list[Job](), list[str]()
    known = [unit for unit in waiting if results.path(settings.results, unit).exists()]
    once_more = set(known if settings.again else ())
    try:
        while at_work or (waiting and time.monotonic() < deadline):
            while waiting and len(at_work) < settings.jobs and time.monotonic() < deadline:
                unit = take(waiting, [job.unit for job in at_work])
                waiting.remove(unit)
                if (lock := _lock(unit, settings)) is None:
                    click.echo(f"{unit.name}: another run is at it")
                elif unit not in once_more and results.path(settings.results, unit).exists():
                    click.echo(f"{unit.name}: another run finished it")
                    lock.close()
                else:
                    at_work.append(_begin(unit, _free(at_work), settings, lock))
            time.sleep(PATIENCE)
            for job in [job for job in at_work if job.process.poll() is not None]:
                at_work.remove(job)
                job.log.close()
                if not results.path(settings.results, job.unit).exists():
                    failed(job.unit, said(job.process.returncode, settings.logs, job.unit))
                ended(job.unit)
                job.lock.close()
                about = results.read(results.path(settings.results, job.unit)).about
                faults = [*faults, about["line"]] if about["status"] == results.FAILED else []
                stop_if_alike(faults)
    finally:
        for job in at_work:
            job.process.terminate()
        for job in at_work:
            job.process.wait()
            job.log.close()
            job.lock.close()
    return waiting


def stop_if_alike(faults: Sequence[str]) -> None:
    """Refuse to go on where the last units in a row all failed by one fault.

    Raises:
        InputError: they did.
    """
    last = faults[-ALIKE:]
    if len(last) == ALIKE and len(set(last)) == 1:
        raise InputError(
            f"{ALIKE} units in a row failed: {last[0]}; expected this machine to run them; mend "
            "that, then run with --again"
        )


def _stop(number: int, frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)


def _free(at_work: Sequence[Job]) -> int:
    """Give the lowest place that no job has."""
    taken = {job.place for job in at_work}
    return next(place for place in range(len(at_work) + 1) if place not in taken)


def _lock(unit: Unit, settings: Settings) -> IO[bytes] | None:
    """Take a unit's lock, which goes back when this process ends; None if another has it."""
    settings.logs.mkdir(parents=True, exist_ok=True)
    lock = (settings.logs / f"{unit.name}.lock").open("ab")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        return None
    return lock


def _begin(unit: Unit, place: int, settings: Settings, lock: IO[bytes]) -> Job:
    """Start a unit's process; what it says goes into its log."""
    settings.logs.mkdir(parents=True, exist_ok=True)
    path = results.path(settings.results, unit)
    path.unlink(missing_ok=True)  # of an earlier try
    log = (settings.logs / f"{unit.name}.log").open("ab")
    process = subprocess.Popen(
        [sys.executable, "-m", "study", "unit", unit.name, *settings.command],
        cwd=ROOT,
        env=environment(place, settings),
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
    )
    click.echo(f"{unit.name}: begun, log in {settings.logs / f'{unit.name}.log'}")
    return Job(unit, place, process, log, lock)


def environment(place: int, settings: Settings) -> dict[str, str]:
    """Give a job its share of the cores, and its device."""
    found = dict(os.environ)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    found.setdefault("OMP_NUM_THREADS", str(max(1, (cores or 1) // settings.jobs)))
    found[STARTED_BY] = str(os.getpid())
    found["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), found.get("PYTHONPATH", "")]))
    if settings.devices:
        found["CUDA_VISIBLE_DEVICES"] = settings.devices[place % len(settings.devices)]
    return found


def said(code: int, logs: Path, unit: Unit) -> str:
    """Say in one line how a process ended that left no result."""
    if code < 0:
        return f"killed by {signal.Signals(-code).name}"
    lines = (logs / f"{unit.name}.log").read_text(encoding="utf-8", errors="replace").splitlines()
    return f"ended with code {code}: {next((line for line in reversed(lines) if line.strip()), '')}"
