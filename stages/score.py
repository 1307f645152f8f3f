"""Stage score: r_{t-1} scores all sampled responses."""

from pathlib import Path

import click

from mutual_taught.artifacts import files, tables
from mutual_taught.config import blocks, params
from mutual_taught.evaluation import describe
from mutual_taught.pipeline import perf
from stages._click import PATH, Stage, run


@click.command(cls=Stage)
@click.option("--responses", required=True, type=PATH, help="Table of sampled responses.")
@click.option("--reward-model", required=True, type=PATH, help="The previous reward model.")
@click.option("--prompts", required=True, type=PATH, help="The policy splits.")
@click.option("--out", required=True, type=PATH, help="Folder of the iteration.")
def main(responses: Path, reward_model: Path, prompts: Path, out: Path) -> None:
    """Give every response its reward (E-step, step 2)."""
    drawn = tables.read(responses, tables.RESPONSES)
    if not tables.is_active(drawn):
        tables.empty(out, tables.REWARDS)
        files.write_metrics(out / "metrics" / "score.json", {"active": 0.0})
        return
    from mutual_taught.scoring.start import start_scorer
    from mutual_taught.steps import score

    tokens, asked = params.load(blocks.Tokens), tables.read(prompts, tables.PROMPTS)
    inputs = score.ScoreInputs(drawn, responses, asked, prompts)
    begun = start_scorer(params.load(blocks.Score), params.workers(), tokens)
    with perf.measure(out, "score") as measured, begun as scorer:
        name = f"score@{out.name}"
        rewards, made_from = score.rewards(scorer, inputs, reward_model, tokens, name)
        measured["answers"] = len(drawn)
    tables.write(out, tables.REWARDS, rewards, made_from)
    files.write_metrics(out / "metrics" / "score.json", describe.rewards(rewards))


if __name__ == "__main__":
    run(main)
