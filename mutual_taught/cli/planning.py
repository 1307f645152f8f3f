"""Commands that look ahead: plan."""

import contextlib
import json
from pathlib import Path

import click
from click.shell_completion import CompletionItem

from mutual_taught.cli import place
from mutual_taught.errors import MutualTaughtError
from mutual_taught.terminal import process


def complete_stage(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Offer the stages that begin as what was typed."""
    from mutual_taught.running import repro

    with (
        contextlib.chdir(place.root(Path.cwd()) or Path.cwd()),
        contextlib.suppress(MutualTaughtError),
    ):
        return [CompletionItem(name) for name in repro.stages() if name.startswith(incomplete)]
    return []


@click.command()
@click.argument("targets", nargs=-1, shell_complete=complete_stage)
@click.option("--machine", metavar="GPUSxGB", help="Plan for another machine, such as 8x80.")
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def plan(targets: tuple[str, ...], machine: str | None, as_json: bool) -> None:
    """Say what a run would do, before it does anything.

    Use it before a long run, and after a change of params.yaml. It names every stage that will
    run and why, those that are kept or restored, and for each what there is to do, how long it
    takes and how much memory a device needs. What cannot fit this machine is refused with the
    parameter to change, exit code 1. Nothing is run and nothing is changed.

    TARGETS are stages to be made with all before them, such as dpo@1; without any, all stages.

    Example: mutual-taught plan --machine 8x80
    """
    from mutual_taught.planning import plan as making
    from mutual_taught.planning import plan_text
    from mutual_taught.running import repro

    repro.require_stages(targets)
    made = making.make(targets, machine)
    if as_json:
        click.echo(json.dumps(plan_text.as_json(made), indent=2))
    else:
        for line in plan_text.lines(made):
            process.say(line)
    if made.faults:
        raise click.ClickException(
            f"{len(made.faults)} of these cannot run on {made.machine.description}"
        )
