"""Commands on params.yaml: preset, check."""

import contextlib
import shutil
import textwrap
from pathlib import Path

import click
from click.shell_completion import CompletionItem

from mutual_taught.artifacts.files import write_bytes
from mutual_taught.cli import place
from mutual_taught.terminal import process

PRESETS = ("tiny", "laptop", "single-gpu", "paper")


def complete_ablation(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Offer the ablations that begin as what was typed, with what they change."""
    from mutual_taught.config import presets

    with contextlib.chdir(place.root(Path.cwd()) or Path.cwd()):
        found = [name for name in presets.names() if name.startswith(incomplete)]
        return [
            CompletionItem(name, help=presets.description(presets.place(name))) for name in found
        ]


class Preset(click.Command):
    """A command whose help ends with the names of the ablations that are there."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the ablations of the project."""
        from mutual_taught.config import presets

        if names := presets.names():
            text = f"Ablations: {', '.join(names)}."
            formatter.write("\n" + textwrap.fill(text, formatter.width, break_on_hyphens=False))
            formatter.write("\n")


def show_list(ctx: click.Context, _param: click.Parameter, wanted: bool) -> None:
    """Print all presets and ablations, a line or two each, and end."""
    from mutual_taught.config import presets

    if not wanted or ctx.resilient_parsing:
        return
    for line in presets.listing(shutil.get_terminal_size().columns):
        process.say(line)
    ctx.exit()


@click.command(cls=Preset, short_help="Write params.yaml from a preset, with ablations.")
@click.argument("name", type=click.Choice(PRESETS))
@click.option(
    "--with",
    "ablations",
    multiple=True,
    metavar="ABLATION",
    shell_complete=complete_ablation,
    help="Change it by presets/ablations/ABLATION.yaml; may be given several times.",
)
@click.option("--force", is_flag=True, help="Overwrite a params.yaml with changes of yours.")
@click.option(
    "--list",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=show_list,
    help="List presets and ablations with what each is for, and end.",
)
def preset(name: str, ablations: tuple[str, ...], force: bool) -> None:
    """Write params.yaml from a preset: laptop (default), tiny (tests), single-gpu or paper.

    Use it to begin, to go back to the values as they were, or to try an ablation or a baseline
    of the paper. The result is checked before anything is written. A params.yaml whose values no
    preset has, with or without ablations, is yours and is kept unless you say --force.

    \b
    Example: mutual-taught preset laptop --with no-filter --with three-iterations
    """
    from mutual_taught.config import params, presets

    text = presets.compose(name, ablations)
    if params.PARAMS.exists() and not force and not presets.known(params.PARAMS):
        raise click.ClickException(
            f"{params.PARAMS} differs from every preset; expected no changes of yours; "
            "save it elsewhere, or say --force"
        )
    write_bytes(params.PARAMS, text.encode())
    changed = f" with {', '.join(ablations)}" if ablations else ""
    click.echo(f"params.yaml is now the {name} preset{changed}; dvc repro runs it")


@click.command(short_help="Check params.yaml: types, ranges, overrides.")
def check() -> None:
    """Check params.yaml: types, ranges, unknown keys, overrides.

    Use it after an edit. It takes no time and loads no model; every other command and every
    stage checks the same before it begins.

    Example: mutual-taught check
    """
    from mutual_taught.config import params
    from mutual_taught.measuring import data

    checked = params.validate(params.read(params.PARAMS))
    data.require_own(checked.benchmarks)
    click.echo(f"params.yaml is in order; {len(checked.iterations)} iterations")
