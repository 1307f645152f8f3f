"""Stage sample: pi_{t-1} answers the iteration's policy prompts M times."""

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
@click.option("--decision", "decided", required=True, type=PATH, help="Whether to go on.")
@click.option("--prompts", required=True, type=PATH, help="The policy splits.")
@click.option("--out", required=True, type=PATH, help="Folder of the iteration.")
def main(iteration: str, policy: Path, decided: Path, prompts: Path, out: Path) -> None:
    """Draw M responses to each policy prompt of the iteration (E-step, step 1)."""
    if not decision.read(decided).active:
        tables.empty(out, tables.RESPONSES)
        files.write_metrics(out / "metrics" / "sample.json", {"active": 0.0})
        return
    from mutual_taught.steps import sample

    with perf.measure(out, "sample") as measured:
        responses, made_from = sample.responses(
            policy,
            tables.read(prompts, tables.PROMPTS),
            int(iteration),
            params.load(blocks.Sample, iteration),
            blocks.Drawing(params.load(blocks.Engine), params.load(blocks.Tokens), params.seed()),
        )
        measured.update(describe.counts(responses))
    tables.write(out, tables.RESPONSES, responses, made_from)
    files.write_metrics(out / "metrics" / "sample.json", describe.responses(responses))


if __name__ == "__main__":
    run(main)
