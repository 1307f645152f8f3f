"""Commands that run the pipeline."""

from pathlib import Path

import click

from mutual_taught.cli.looking import status


@click.command()
@click.argument("targets", nargs=-1)
def run(targets: tuple[str, ...]) -> None:
    """Run the pipeline (dvc repro), then show what happened and where to look.

    Stages that are up to date are not run again. TARGETS are stage names such as dpo@1; without
    any, the whole pipeline runs.
    """
    from mutual_taught import params, pipeline

    params.validate(params.read(params.PARAMS))
    if not pipeline.repro(targets, pipeline.planned(targets)):
        click.echo("Nothing to do: every stage is up to date.")
    context = click.get_current_context()
    context.invoke(status, folder=Path("run"), as_json=False, watch=False, every=0.0)
