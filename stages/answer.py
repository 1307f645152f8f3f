"""Stage answer: pi_t answers the reward prompts once; r_{t-1} scores its and pi_{t-1}'s answers."""

from pathlib import Path

import click

from mutual_taught.artifacts import decision, files, tables
from mutual_taught.config import blocks, params
from mutual_taught.evaluation import describe
from mutual_taught.pipeline import perf
from stages._click import PATH, Stage, iteration, run


@click.command(cls=Stage)
@click.option("--iteration", required=True, type=iteration, help="t, from 1.")
@click.option("--policy", required=True, type=PATH, help="The policy pi_t.")
@click.option("--decision", "decided", required=True, type=PATH, help="Whether to go on.")
@click.option("--previous-answers", required=True, type=PATH, help="pi_{t-1}'s answers.")
@click.option("--reward-model", required=True, type=PATH, help="The previous reward model.")
@click.option("--base-reward-model", required=True, type=PATH, help="The base reward model r_0.")
@click.option("--prompts", required=True, type=PATH, help="The reward split D_M.")
@click.option("--out", required=True, type=PATH, help="Folder of the iteration.")
def main(
    iteration: str,
    policy: Path,
    decided: Path,
    previous_answers: Path,
    reward_model: Path,
    base_reward_model: Path,
    prompts: Path,
    out: Path,
) -> None:
    """Draw y_t on the reward prompts and score y_t and y_{t-1} (M-step, steps 1 and 2)."""
    if not decision.read(decided).active:
        tables.empty(out, tables.ANSWERS, tables.ANSWER_REWARDS)
        files.write_metrics(out / "metrics" / "answer.json", {"active": 0.0})
        return
    from mutual_taught.sampling.shards import make_plan
    from mutual_taught.scoring.start import start_scorer
    from mutual_taught.steps import answer
    from mutual_taught.steps.single_answers import single_answers

    asked, limits = tables.read(prompts, tables.PROMPTS), params.load(blocks.Tokens)
    engine, settings = params.load(blocks.Engine), params.load(blocks.Answer)
    drawing = blocks.Drawing(engine, limits, params.seed())
    plan = make_plan("answer", int(iteration), 1, settings, drawing)
    shift: dict[str, float | None] = {}
    with perf.measure(out, "answer") as measured:
        answers, made_from = single_answers(policy, asked, plan, drawing)
        measured.update(describe.counts(answers))
        tables.write(out, tables.ANSWERS, answers, made_from)
        inputs = answer.AnswerInputs(
            answers, tables.read(previous_answers, tables.PREVIOUS_ANSWERS), previous_answers, asked
        )
        with start_scorer(params.load(blocks.Score), engine.workers, limits) as scorer:
            name = f"answer@{iteration}-rewards"
            rewards, scored_from = answer.answer_rewards(scorer, inputs, reward_model, limits, name)
            if settings.previous == "reuse" and iteration != "1":  # pi_0 had none stored
                name = f"answer@{iteration}-base-rewards"
                base, _ = answer.answer_rewards(scorer, inputs, base_reward_model, limits, name)
                shift["previous_shift"] = answer.shift(rewards, base)
    tables.write(out, tables.ANSWER_REWARDS, rewards, scored_from)
    files.write_metrics(out / "metrics" / "answer.json", {**describe.responses(answers), **shift})


if __name__ == "__main__":
    run(main)
