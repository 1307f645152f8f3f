"""The console command `mutual-taught`: one module for each kind of command."""

import contextlib
import errno
from pathlib import Path

import click

from mutual_taught import __version__
from mutual_taught.cli import (
    cleaning,
    experiments,
    keeping,
    looking,
    making,
    measuring,
    place,
    planning,
    running,
    settings,
)
from mutual_taught.errors import MutualTaughtError
from mutual_taught.terminal import process, shortage

PLACE = {  # what is wrong with a place that the user named, or with the disk
    errno.EACCES,
    errno.EDQUOT,
    errno.EEXIST,
    errno.EISDIR,
    errno.ENAMETOOLONG,
    errno.ENOSPC,
    errno.ENOTDIR,
    errno.EPERM,
    errno.EROFS,
}


class Main(click.Group):
    """A group whose commands print our errors in one line, exit code 1; Ctrl-C is 130."""

    def invoke(self, ctx: click.Context) -> object:
        """Run the command in the project's folder, wherever inside it the user is."""
        ctx.meta[place.ORIGIN] = Path.cwd()
        ctx.with_resource(contextlib.chdir(place.root(Path.cwd()) or Path.cwd()))
        try:
            return super().invoke(ctx)
        except MutualTaughtError as error:
            raise process.refusal(str(error)) from None
        except Exception as error:
            said = shortage.told(error, str(ctx.invoked_subcommand))
            if said is None and isinstance(error, OSError) and error.errno in PLACE:
                said = f"{error.filename or 'disk'}: {error.strerror}"
            if said is None:
                raise
            raise process.refusal(said) from None
        except KeyboardInterrupt:
            click.echo("interrupted", err=True)
            ctx.exit(130)


@click.group(
    cls=Main,
    context_settings={"help_option_names": ["-h", "--help"], "show_default": True},
)
@click.version_option(__version__)
def main() -> None:
    """Mutual-Taught: a policy and its reward model improve each other.

    The pipeline itself runs under DVC: `dvc repro` runs what is not up to date, `dvc exp run -S
    dpo.beta=0.05` tries another value. These commands are for what DVC does not do. They work in
    any folder of the project.

    \b
    Exit codes: 0 it went well; 1 refused or failed, in one line; 2 a mistyped
    command or option; 130 interrupted by Ctrl-C (143 by SIGTERM); 255 exp: DVC
    refused or failed.
    """
    process.begin()


for _module in (
    settings,
    planning,
    running,
    experiments,
    looking,
    measuring,
    keeping,
    making,
    cleaning,
):
    for _command in vars(_module).values():
        if isinstance(_command, click.Command):
            main.add_command(_command)
