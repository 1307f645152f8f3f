"""Commands that run the pipeline."""

from pathlib import Path

import click

from mutual_taught.cli.looking import status
from mutual_taught.cli.planning import complete_stage, plan


@click.command(short_help="Run what is not up to date, then show the status.")
@click.argument("targets", nargs=-1, shell_complete=complete_stage)
@click.option("--dry", is_flag=True, help="Only say what would run, as `mutual-taught plan`.")
@click.option("-f", "--force", is_flag=True, help="Run stages that are up to date, too.")
@click.option("--pull", is_flag=True, help="Fetch what is in the remote storage, make the rest.")
@click.option("-s", "--single-item", "single", is_flag=True, help="Only TARGETS, nothing before.")
def run(targets: tuple[str, ...], dry: bool, force: bool, pull: bool, single: bool) -> None:
    """Run what is not up to date (dvc repro), then show the status.

    Use it for the first run and after every change. TARGETS are stages such as dpo@1, or dpo for
    that of all iterations; those before them run first if they are not up to date. Without any,
    the whole pipeline runs.

    Ctrl-C ends the stage that runs, and DVC. Run it again, and it goes on with what is finished.
    A second Ctrl-C kills both, which loses no more.

    \b
    Examples:
      mutual-taught run                    whatever is not up to date
      mutual-taught run train_rm@1         up to the first reward model
      mutual-taught run --force -s eval@1  that stage again, nothing else
      mutual-taught run --pull             with what others have pushed
    """
    from mutual_taught.config import params
    from mutual_taught.measuring import data
    from mutual_taught.planning.stale import Flags
    from mutual_taught.running import repro
    from mutual_taught.running.interrupt import InterruptedRunError

    flags = Flags(force, single, pull)
    check_flags(targets, {"dry": dry, **flags._asdict()})
    data.require_own(params.validate(params.read(params.PARAMS)).benchmarks)
    context = click.get_current_context()
    if dry:
        context.invoke(plan, targets=targets, machine=None, as_json=False)
        return
    repro.require_stages(targets)
    noted = repro.planned(targets, flags)
    try:
        ran = repro.repro(targets, flags, noted)
    except InterruptedRunError as ended:
        click.echo(str(ended), err=True)
        context.exit(ended.code)
    if not ran:
        click.echo("Nothing to do: every stage is up to date.")
    context.invoke(status, folder=Path("run"), as_json=False, watch=False, every=0.0)


def check_flags(targets: tuple[str, ...], flags: dict[str, bool]) -> None:
    """Refuse options that contradict each other.

    Raises:
        UsageError: saying which.
    """
    if flags["single"] and not targets:
        raise click.UsageError("--single-item is for TARGETS; expected at least one, such as dpo@1")
    for one, other, why in (
        ("dry", "force", "with --force every stage of TARGETS runs"),
        ("dry", "pull", "a dry run changes nothing, and --pull fetches"),
        ("dry", "single", "what runs is then what you name"),
        ("force", "pull", "what is fetched would be made again"),
    ):
        if flags[one] and flags[other]:
            names = " and ".join(
                f"--{name}".replace("single", "single-item") for name in (one, other)
            )
            raise click.UsageError(f"{names} exclude each other: {why}")
