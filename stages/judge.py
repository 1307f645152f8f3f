"""Stage judge: a language model compares pi_t's held-out answers with pi_0's and pi_{t-1}'s."""

from pathlib import Path

import click

from mutual_taught.artifacts import decision, tables
from mutual_taught.config import judging, params
from mutual_taught.pipeline import perf
from mutual_taught.steps import judge
from stages._click import PATH, Stage, run


@click.command(cls=Stage)
@click.option("--generations", required=True, type=PATH, help="Answers of pi_t.")
@click.option("--base", required=True, type=PATH, help="Answers of pi_0 to the same prompts.")
@click.option("--previous", required=True, type=PATH, help="Answers of pi_{t-1} to the same.")
@click.option("--decision", "decided", required=True, type=PATH, help="Whether to go on.")
@click.option("--prompts", required=True, type=PATH, help="The eval split.")
@click.option("--out", required=True, type=PATH, help="Folder of the iteration.")
def main(
    generations: Path, base: Path, previous: Path, decided: Path, prompts: Path, out: Path
) -> None:
    """Ask a judge about stored answers; what it was asked before it is not asked again."""
    settings = params.load(judging.Judging)
    if not decision.read(decided).active:
        judge.nothing(out)
        return
    paths = {"policy": generations, "base": base, "previous": previous}
    responses = {name: tables.read(path, tables.GENERATIONS) for name, path in paths.items()}
    asked = judge.JudgeInputs(responses, tables.read(prompts, tables.PROMPTS), prompts)
    with perf.measure(out, "judge") as measured:
        measured["verdicts"] = judge.judge(asked, out, settings, params.endpoint(), params.seed())


if __name__ == "__main__":
    run(main)
