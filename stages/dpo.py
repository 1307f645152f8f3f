"""Stage dpo: candidate policies pi_t, trained on the ranked pairs."""

from pathlib import Path

import click

from mutual_taught.artifacts import decision, files, joins, tables
from mutual_taught.artifacts.manifests import STEPS
from mutual_taught.config import blocks, learning, params
from mutual_taught.pipeline import perf
from stages._click import PATH, Stage, iteration, run


@click.command(cls=Stage)
@click.option("--iteration", required=True, type=iteration, help="t, from 1.")
@click.option("--ranked-pairs", required=True, type=PATH, help="Table of the E-step's pairs.")
@click.option("--responses", required=True, type=PATH, help="Table of sampled responses.")
@click.option("--policy", required=True, type=PATH, help="The previous policy.")
@click.option("--base", required=True, type=PATH, help="The base policy.")
@click.option("--decision", "decided", required=True, type=PATH, help="Whether to go on.")
@click.option("--prompts", required=True, type=PATH, help="The policy splits.")
@click.option("--out", required=True, type=PATH, help="Folder of the iteration.")
def main(
    iteration: str,
    ranked_pairs: Path,
    responses: Path,
    policy: Path,
    base: Path,
    decided: Path,
    prompts: Path,
    out: Path,
) -> None:
    """Update the policy by DPO; keep a checkpoint every save_steps (E-step, 4)."""
    if not decision.read(decided).active:
        files.write_json(out / "checkpoints" / STEPS, {"steps": []})
        files.write_curve(out / "curves" / "dpo.csv", ("step", "loss"), [])
        files.write_metrics(out / "metrics" / "dpo.json", {"active": 0.0})
        return
    from mutual_taught.steps.dpo import DpoInputs, metrics, train_candidates
    from mutual_taught.training.dpo import CURVE
    from mutual_taught.training.settings import Recipe

    settings = params.load(learning.Dpo, iteration)
    pairs = tables.read(ranked_pairs, tables.RANKED_PAIRS)
    with perf.measure(out, "dpo") as measured:
        outcome = train_candidates(
            DpoInputs(
                pairs,
                tables.read(responses, tables.RESPONSES),
                tables.read(prompts, tables.PROMPTS),
            ),
            base if settings.start == "base" else policy,
            out,
            Recipe(settings, params.load(learning.Training), params.seed()),
            params.load(blocks.Tokens),
        )
        learnt = joins.counts(pairs["kept"], pairs["reason"])["kept"] * settings.epochs
        measured.update(steps=outcome.steps, pairs=learnt)
    files.write_curve(out / "curves" / "dpo.csv", CURVE, outcome.curve)
    numbers = metrics(outcome, out / "checkpoints")
    files.write_metrics(out / "metrics" / "dpo.json", numbers)


if __name__ == "__main__":
    run(main)
