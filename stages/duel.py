"""Stage duel: every candidate and pi_{t-1} answer D_MS; r_{t-1}, gold or a model judges."""

from pathlib import Path

import click

from mutual_taught.artifacts import decision, tables
from mutual_taught.config import blocks, params
from mutual_taught.pipeline import perf
from stages._click import PATH, Stage, iteration, run


@click.command(cls=Stage)
@click.option("--iteration", required=True, type=iteration, help="t, from 1.")
@click.option("--checkpoints", required=True, type=PATH, help="Folder of candidate policies.")
@click.option("--policy", required=True, type=PATH, help="The previous policy.")
@click.option("--reward-model", required=True, type=PATH, help="The previous reward model.")
@click.option("--decision", "decided", required=True, type=PATH, help="Whether to go on.")
@click.option("--prompts", required=True, type=PATH, help="The selection split D_MS.")
@click.option("--out", required=True, type=PATH, help="Folder of the iteration.")
def main(
    iteration: str,
    checkpoints: Path,
    policy: Path,
    reward_model: Path,
    decided: Path,
    prompts: Path,
    out: Path,
) -> None:
    """Let every checkpoint duel with the previous policy on the selection prompts."""
    if not decision.read(decided).active:
        tables.empty(out, tables.DUELS)
        return
    from mutual_taught.steps import duel
    from mutual_taught.steps.model_verdicts import Asking

    asked = tables.read(prompts, tables.PROMPTS)
    with perf.measure(out, "duel") as measured:
        terms = duel.DuelTerms(
            params.load(blocks.Duel),
            params.load(blocks.Score),
            blocks.Drawing(params.load(blocks.Engine), params.load(blocks.Tokens), params.seed()),
            params.judge(),
            None if (model := params.judge_model()) is None else Asking(model, params.endpoint()),
        )
        models = duel.Duellists(checkpoints, policy, reward_model)
        fought, made_from = duel.duel(models, asked, int(iteration), terms)
        own = len(asked) * terms.duel.responses_per_prompt  # pi_{t-1}'s answers
        measured.update(duels=len(fought), answers=len(fought) + own)
    tables.write(out, tables.DUELS, fought, made_from)


if __name__ == "__main__":
    run(main)
