"""Stage select_policy: the checkpoint that wins most duels becomes pi_t, or training stops."""

from pathlib import Path

import click

from mutual_taught.artifacts import decision, tables
from mutual_taught.config import blocks, params
from mutual_taught.pipeline import perf
from mutual_taught.steps import select_policy
from stages._click import PATH, Stage, iteration, run


@click.command(cls=Stage)
@click.option("--iteration", required=True, type=iteration, help="t, from 1.")
@click.option("--duels", required=True, type=PATH, help="Table of duels.")
@click.option("--checkpoints", required=True, type=PATH, help="Folder of candidate policies.")
@click.option("--policy", required=True, type=PATH, help="The previous policy.")
@click.option("--decision", "decided", required=True, type=PATH, help="The previous decision.")
@click.option("--out", required=True, type=PATH, help="Folder of the iteration.")
def main(
    iteration: str, duels: Path, checkpoints: Path, policy: Path, decided: Path, out: Path
) -> None:
    """Keep the checkpoint that r_{t-1} prefers most often if its win rate is at least tau."""
    with perf.measure(out, "select_policy"):
        before = decision.read(decided)
        choice = select_policy.Choice(tables.read(duels, tables.DUELS), checkpoints, policy, before)
        settings = params.load(blocks.SelectPolicy)
        select_policy.choose(choice, out, iteration, settings, params.seed())


if __name__ == "__main__":
    run(main)
