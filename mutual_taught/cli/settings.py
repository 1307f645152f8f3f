"""Commands on params.yaml: preset, check."""

import click

from mutual_taught.files import write_bytes


@click.command()
@click.argument("name", type=click.Choice(["tiny", "laptop", "paper"]))
@click.option(
    "--with",
    "ablations",
    multiple=True,
    metavar="ABLATION",
    help="Change it by presets/ablations/ABLATION.yaml; may be given several times.",
)
@click.option("--force", is_flag=True, help="Overwrite a params.yaml with changes of yours.")
def preset(name: str, ablations: tuple[str, ...], force: bool) -> None:
    """Write params.yaml from a preset: laptop (default), tiny (tests) or paper.

    The result is checked before anything is written. A params.yaml that no preset gives, with or
    without one ablation, is yours and is kept unless you say --force.
    """
    from mutual_taught import params, presets

    text = presets.compose(name, ablations)
    if params.PARAMS.exists() and not force and not presets.known(params.PARAMS.read_bytes()):
        raise click.ClickException(
            f"{params.PARAMS} differs from every preset; expected no changes of yours; "
            "save it elsewhere, or say --force"
        )
    write_bytes(params.PARAMS, text.encode())
    changed = f" with {', '.join(ablations)}" if ablations else ""
    click.echo(f"params.yaml is now the {name} preset{changed}; dvc repro runs it")


@click.command()
def check() -> None:
    """Check params.yaml: types, ranges, unknown keys, overrides of every iteration."""
    from mutual_taught import params

    checked = params.validate(params.read(params.PARAMS))
    click.echo(f"params.yaml is in order; {len(checked.iterations)} iterations")
