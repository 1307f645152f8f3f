"""Stage eval_base: pi_0 and r_0 on the held-out prompts, the origin of every curve."""

from pathlib import Path

import click

from mutual_taught.artifacts import files, tables
from mutual_taught.config import blocks, params
from mutual_taught.pipeline import perf
from mutual_taught.report import markdown
from stages._click import PATH, Stage, run


@click.command(cls=Stage)
@click.option("--policy", required=True, type=PATH, help="The base policy.")
@click.option("--reward-model", required=True, type=PATH, help="The base reward model.")
@click.option("--prompts", required=True, type=PATH, help="The eval split.")
@click.option("--gold-pairs", required=True, type=PATH, help="Held-out pairs, or none.")
@click.option("--out", required=True, type=PATH, help="Folder of iteration 0.")
def main(policy: Path, reward_model: Path, prompts: Path, gold_pairs: Path, out: Path) -> None:
    """Evaluate the start, and begin the report."""
    from mutual_taught.steps import evaluate

    asked = tables.read(prompts, tables.PROMPTS)
    settings = params.load(blocks.Eval)
    with perf.measure(out, "eval_base") as measured:
        measured["answers"] = len(asked) * settings.responses_per_prompt
        evaluate.assess(
            evaluate.Inputs(policy, reward_model, reward_model, gold_pairs, None, None),
            asked,
            out,
            settings,
            params.load(blocks.Engine),
            params.load(blocks.Score),
            params.load(blocks.Tokens),
            params.seed(),
        )
    generations = tables.read(tables.GENERATIONS.path(out / "eval"), tables.GENERATIONS)
    shown = markdown.examples(generations, asked, params.load(blocks.Report).examples)
    entry = markdown.entry(0, {"eval": files.read_json(out / "metrics" / "eval.json")}, shown)
    markdown.write(out / "report", [entry])


if __name__ == "__main__":
    run(main)
