"""Stage eval: pi_t and r_t on the held-out prompts."""

from pathlib import Path

import click

from mutual_taught.artifacts import decision, tables
from mutual_taught.config import blocks, params
from mutual_taught.evaluation.judge import copy
from mutual_taught.pipeline import perf
from stages._click import PATH, Stage, run


@click.command(cls=Stage)
@click.option("--policy", required=True, type=PATH, help="The policy pi_t.")
@click.option("--base-policy", required=True, type=PATH, help="The base policy pi_0.")
@click.option("--reward-model", required=True, type=PATH, help="The reward model r_t.")
@click.option("--base-reward-model", required=True, type=PATH, help="The base reward model r_0.")
@click.option("--decision", "decided", required=True, type=PATH, help="Whether to go on.")
@click.option("--base-eval", required=True, type=PATH, help="Evaluation of iteration 0.")
@click.option("--previous", required=True, type=PATH, help="Folder of the previous iteration.")
@click.option("--prompts", required=True, type=PATH, help="The eval split.")
@click.option("--gold-pairs", required=True, type=PATH, help="Held-out pairs, or none.")
@click.option("--out", required=True, type=PATH, help="Folder of the iteration.")
def main(
    policy: Path,
    base_policy: Path,
    reward_model: Path,
    base_reward_model: Path,
    decided: Path,
    base_eval: Path,
    previous: Path,
    prompts: Path,
    gold_pairs: Path,
    out: Path,
) -> None:
    """Compare pi_t with pi_0 and pi_{t-1}, and r_t with r_0, on held-out prompts and pairs."""
    if not decision.read(decided).active:
        copy(previous, out)
        return
    from mutual_taught.steps import evaluate

    inputs = evaluate.EvalInputs(
        policy,
        base_policy,
        reward_model,
        previous / "reward_model",
        base_reward_model,
        gold_pairs,
        base_eval,
        previous / "eval",
    )
    asked = tables.read(prompts, tables.PROMPTS)
    terms = evaluate.EvalTerms(
        params.load(blocks.Eval),
        params.load(blocks.Score),
        blocks.Drawing(params.load(blocks.Engine), params.load(blocks.Tokens), params.seed()),
    )
    with perf.measure(out, "eval") as measured:
        measured["answers"] = len(asked) * terms.eval.responses_per_prompt
        evaluate.assess(inputs, asked, out, terms)


if __name__ == "__main__":
    run(main)
