"""Commands that look at a run, or at what it needs: status, verify, trace, why, doctor."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from mutual_taught import process
from mutual_taught.cli.place import PLACE
from mutual_taught.signs import without_secrets


@click.command()
@click.option("--run", "folder", default="run", type=PLACE, help="Folder of the run.")
def status(folder: Path) -> None:
    """Show what happened so far, iteration by iteration, in one table."""
    from mutual_taught import status as table

    table.show(folder)


@click.command()
@click.option("--run", "folder", default="run", type=PLACE, help="Folder of the run.")
@click.option("--models/--no-models", default=True, help="Hash the models' files, too.")
@click.option(
    "--resample",
    "count",
    type=click.IntRange(min=0),
    default=0,
    help="Draw so many random shards again.",
)
@click.option("--seed", default=0, help="Of the choice of shards.")
def verify(folder: Path, models: bool, count: int, seed: int) -> None:
    """Recompute every decision of a run from its artifacts, and check every digest.

    Pairs, tolerances, filters, duels, the chosen checkpoint, the mix, gold, judgements and all
    metrics are made again from the tables alone and compared cell by cell. Says what differs,
    where, and what was expected; exit code 1 if anything does. params.yaml must be the run's.

    --resample draws answers again with their seeds. On the same kind of machine they are
    bit-equal; another kind may round otherwise.
    """
    from mutual_taught import verify as checking

    faults = 0
    for fault in checking.verify(folder, models):
        process.say(str(fault))
        faults += 1
    if not faults:
        process.say(f"{folder}: every decision and every digest is as it should be")
    if count:
        from mutual_taught import resample

        for shard in resample.resample(folder, count, seed):
            process.say(str(shard))
            faults += shard.same_tokens < shard.answers
    if faults:
        raise click.ClickException(f"{faults} things do not follow from the rest of the run")


@click.command()
@click.argument("prompt_id")
@click.option("--run", "folder", default="run", type=PLACE, help="Folder of the run.")
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print it as JSON, texts in full (token ids are in the tables).",
)
def trace(prompt_id: str, folder: Path, as_json: bool) -> None:
    """Tell a prompt's whole life: answers, rewards, pairs, duels, who learnt from it.

    PROMPT_ID is an id of run/0/prompts.parquet, or its first six or more characters.
    """
    from mutual_taught import trace as telling

    story = telling.prompt(folder, prompt_id)
    _print(story, lambda: telling.lines(story, folder), as_json)


@click.command()
@click.argument("pair_id")
@click.option("--run", "folder", default="run", type=PLACE, help="Folder of the run.")
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print it as JSON, texts in full (token ids are in the tables).",
)
def why(pair_id: str, folder: Path, as_json: bool) -> None:
    """Tell why a pair is among those a reward model was trained on.

    PAIR_ID is an id of run/*/reward_pairs.parquet, or its first six or more characters.
    """
    from mutual_taught import trace as telling

    story = telling.pair(folder, pair_id)
    _print(story, lambda: telling.pair_lines(story), as_json)


@click.command()
@click.option("--run", "folder", default="run", type=PLACE, help="Folder of the run.")
def doctor(folder: Path) -> None:
    """Look at the machine, params.yaml and the prepared models, and say what is wrong.

    The same checks of tokenizers, templates and rewards run at the start of every stage that loads
    a model; a stage refuses with the reason.
    """
    from mutual_taught import doctor as looking

    faults = 0
    for check in looking.examine(folder):
        found = without_secrets(f"{check.name}: {check.found}")
        process.say(f"{'FAIL' if check.fault else 'ok':4}  {found}")
        if check.fault:
            process.say(f"      {without_secrets(check.fault)}")
            faults += 1
    if faults:
        raise click.ClickException(f"{faults} of these would stop a run")


def _print(story: dict[str, Any], lines: Callable[[], Sequence[str]], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(story, indent=2))  # ASCII alone, which no terminal takes for more
        return
    for line in lines():
        process.say(line)
