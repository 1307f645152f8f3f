"""Stage answer_previous: pi_{t-1} answers the reward prompts once, before pi_t is known."""

from pathlib import Path

import click

from mutual_taught.artifacts import decision, files, tables
from mutual_taught.config import blocks, params
from mutual_taught.evaluation import describe
from mutual_taught.pipeline import perf
from stages._click import PATH, Stage, iteration, run


@click.command(cls=Stage)
@click.option("--iteration", required=True, type=iteration, help="t, from 1.")
@click.option("--policy", required=True, type=PATH, help="The previous policy.")
@click.option("--base", required=True, type=PATH, help="The base policy.")
@click.option("--decision", "decided", required=True, type=PATH, help="Whether to go on.")
@click.option("--stored", required=True, type=PATH, help="What it answered in iteration t - 1.")
@click.option("--prompts", required=True, type=PATH, help="The reward split D_M.")
@click.option("--out", required=True, type=PATH, help="Folder of the iteration.")
def main(
    iteration: str,
    policy: Path,
    base: Path,
    decided: Path,
    stored: Path,
    prompts: Path,
    out: Path,
) -> None:
    """Draw y_{t-1} on the reward prompts, or take those that are stored (M-step, step 1)."""
    metrics = out / "metrics" / "answer_previous.json"
    if not decision.read(decided).active:
        tables.empty(out, tables.PREVIOUS_ANSWERS)
        files.write_metrics(metrics, {"active": 0.0})
        return
    from mutual_taught.steps import answer_previous

    settings = params.load(blocks.Answer)
    with perf.measure(out, "answer_previous") as measured:
        answers, made_from = answer_previous.answer_previous(
            base if settings.against == "base" else policy,
            tables.read(stored, tables.ANSWERS),
            tables.read(prompts, tables.PROMPTS),
            int(iteration),
            settings,
            blocks.Drawing(params.load(blocks.Engine), params.load(blocks.Tokens), params.seed()),
        )
        measured.update(describe.counts(answers))
    tables.write(out, tables.PREVIOUS_ANSWERS, answers, made_from)
    files.write_metrics(metrics, describe.responses(answers))


if __name__ == "__main__":
    run(main)
