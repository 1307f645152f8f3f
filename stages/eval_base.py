"""Stage eval_base: pi_0 and r_0 on the held-out prompts, the origin of every curve."""

from pathlib import Path

import click

from mutual_taught.artifacts import tables
from mutual_taught.config import blocks, params
from mutual_taught.pipeline import perf
from stages._click import PATH, Stage, run


@click.command(cls=Stage)
@click.option("--policy", required=True, type=PATH, help="The base policy.")
@click.option("--reward-model", required=True, type=PATH, help="The base reward model.")
@click.option("--prompts", required=True, type=PATH, help="The eval split.")
@click.option("--gold-pairs", required=True, type=PATH, help="Held-out pairs, or none.")
@click.option("--out", required=True, type=PATH, help="Folder of iteration 0.")
def main(policy: Path, reward_model: Path, prompts: Path, gold_pairs: Path, out: Path) -> None:
    """Evaluate the start, from which every curve begins."""
    from mutual_taught.steps import evaluate

    asked = tables.read(prompts, tables.PROMPTS)
    terms = evaluate.EvalTerms(
        params.load(blocks.Eval),
        params.load(blocks.Score),
        blocks.Drawing(params.load(blocks.Engine), params.load(blocks.Tokens), params.seed()),
    )
    with perf.measure(out, "eval_base") as measured:
        measured["answers"] = len(asked) * terms.eval.responses_per_prompt
        evaluate.assess(
            evaluate.EvalInputs(
                policy,
                policy,
                reward_model,
                reward_model,
                reward_model,
                gold_pairs,
                None,
                None,
            ),
            asked,
            out,
            terms,
        )


if __name__ == "__main__":
    run(main)
