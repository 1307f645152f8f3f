"""Commands that keep results: export."""

from pathlib import Path

import click

from mutual_taught.cli.place import PLACE
from mutual_taught.terminal import process

KINDS = {
    "both": ("policy", "reward_model"),
    "policy": ("policy",),
    "reward-model": ("reward_model",),
}


@click.command(short_help="Copy the models out, as plain Hugging Face folders.")
@click.argument("iteration", required=False)
@click.option("--to", "target", type=PLACE, required=True, help="A new folder.")
@click.option("--what", type=click.Choice(list(KINDS)), default="both", help="Which models.")
@click.option("--run", "folder", default="run", type=PLACE, help="Folder of the run.")
def export(iteration: str | None, target: Path, what: str, folder: Path) -> None:
    """Copy both models of an iteration, as plain Hugging Face folders with a card each.

    ITERATION is t; the last one by default. transformers, vLLM and TRL load the folders as they
    are; docs/using-the-models.md has examples.

    Example: mutual-taught export --to models/mine
    """
    from mutual_taught.keeping import export as exporting

    for made in exporting.export(folder, iteration, target, KINDS[what]):
        process.say(f"{made}: README.md says what it is and how to load it")
