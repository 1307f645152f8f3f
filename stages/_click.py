"""What all stages share: the path type, one-line errors, and a process fit for long work."""

import ctypes
import os
import signal
import sys
from pathlib import Path
from typing import Any

import click

from mutual_taught.errors import MutualTaughtError

PATH = click.Path(path_type=Path)
PR_SET_PDEATHSIG = 1


class Stage(click.Command):
    """A command that prints our errors in one line, exit code 1."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; disk-full and permission errors are the user's to mend, too."""
        try:
            return super().invoke(ctx)
        except MutualTaughtError as error:
            raise click.ClickException(str(error)) from None
        except (PermissionError, BlockingIOError) as error:
            raise click.ClickException(f"{error.filename}: {error.strerror}") from None
        except OSError as error:
            if error.errno != 28:
                raise
            raise click.ClickException(
                f"{error.filename or 'disk'}: {error.strerror}; free some space, then dvc repro "
                "goes on with what is finished"
            ) from None


def run(command: click.Command) -> None:
    """Run a stage as a process of its own: dies with its parent, no telemetry, no hub, no spin."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    command()


# Threads that wait must sleep, not spin: with another busy process on the machine spinning made a
# packed step 40 times slower (docs/pipeline.md).
ENVIRONMENT = {
    "OMP_WAIT_POLICY": "PASSIVE",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    "WANDB_DISABLED": "true",
}
