"""What all stages share: the path type, one-line errors, and a process fit for long work."""

import contextlib
import errno
import os
import sys
import threading
from pathlib import Path
from typing import Any

import click
import psutil

from mutual_taught.artifacts.files import NUMBER
from mutual_taught.errors import MutualTaughtError, ShortageError
from mutual_taught.pipeline import devices, perf, taken
from mutual_taught.pipeline.watchdog import started_by, watch
from mutual_taught.planning import graph, schedule
from mutual_taught.terminal import process, shortage

PATH = click.Path(path_type=Path)
DISK = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space",
    errno.EROFS: "make it writable",
}


def iteration(t: str) -> str:
    """Take the number of an iteration, from 1, as params.yaml spells it: it is part of paths."""
    if not NUMBER(t) or t == "0":
        raise click.BadParameter(f"{t[:40]!r} is no iteration; expected a number from 1")
    return t


class Stage(click.Command):
    """A command that prints our errors in one line, exit code 1."""

    def get_help_option_names(self, ctx: click.Context) -> list[str]:
        """Take -h for --help, as the console command does."""
        return ["-h", "--help"]

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; what the disk or the machine has no room for is the user's, too."""
        try:
            with shortage.as_ours(process.stage() or str(ctx.info_name)), devices.lent():
                return super().invoke(ctx)
        except MutualTaughtError as error:
            raise process.refusal(str(error)) from None
        except OSError as error:
            if (said := _of_disk(error)) is None:
                raise
            raise process.refusal(said) from None


def _of_disk(error: OSError) -> str | None:
    """Give the line of an error of the disk that the user can mend; None for others."""
    if isinstance(error, FileExistsError):
        return f"{error.filename} exists; expected an empty place; remove it, as dvc repro does"
    if isinstance(error, PermissionError):
        return f"{error.filename}: {error.strerror}"
    if error.errno not in DISK:
        return None
    place, advice = error.filename or "disk", DISK[error.errno]
    return f"{place}: {error.strerror}; {advice}, then dvc repro goes on with what is finished"


def run(command: click.Command) -> None:
    """Run a stage as a process of its own: dies with DVC, no telemetry, no hub, no spinning."""
    process.begin()
    os.environ[perf.STARTED] = str(psutil.Process().create_time())
    if (stage := process.stage()) is None:
        command()
        return
    # Looked for now, not in the thread: later it may be gone, and another in its place.
    dvc = started_by()
    try:
        with shortage.as_ours(stage):
            threading.Thread(target=watch, args=(dvc,), daemon=True).start()
    except ShortageError as error:
        process.refusal(str(error)).show()
        sys.exit(1)
    with schedule.noted(stage, dvc), taken.noted(stage, _outs(stage)):
        command()


def _outs(stage: str) -> list[str]:
    """List what a stage writes, by dvc.yaml; nothing where that cannot be read."""
    with contextlib.suppress(MutualTaughtError):
        return [out for node in graph.read() if node.name == stage for out in node.outs]
    return []
