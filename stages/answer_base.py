"""Stage answer_base: pi_0 answers the reward prompts once."""

from pathlib import Path

import click

from mutual_taught.artifacts import tables
from mutual_taught.config import blocks, params
from mutual_taught.evaluation import describe
from mutual_taught.pipeline import perf
from stages._click import PATH, Stage, run


@click.command(cls=Stage)
@click.option("--policy", required=True, type=PATH, help="The base policy.")
@click.option("--prompts", required=True, type=PATH, help="The reward split.")
@click.option("--out", required=True, type=PATH, help="Folder of iteration 0.")
def main(policy: Path, prompts: Path, out: Path) -> None:
    """Draw the base policy's answers, the first iteration's y_{t-1}."""
    from mutual_taught.steps import answer

    with perf.measure(out, "answer_base") as measured:
        answers, made_from = answer.answer(
            policy,
            tables.read(prompts, tables.PROMPTS),
            0,
            params.load(blocks.Answer),
            params.load(blocks.Engine),
            params.load(blocks.Tokens),
            params.seed(),
        )
        measured.update(describe.counts(answers))
    tables.write(out, tables.ANSWERS, answers, made_from)


if __name__ == "__main__":
    run(main)
