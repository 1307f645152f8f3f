"""Stage build_pairs: pseudo-labelled pairs, filtered by epsilon_t, mixed with the ranked ones."""

from pathlib import Path

import click

from mutual_taught.artifacts import decision
from mutual_taught.config import blocks, params
from mutual_taught.pipeline import perf
from mutual_taught.steps import build_pairs
from stages._click import PATH, Stage, iteration, run


@click.command(cls=Stage)
@click.option("--iteration", required=True, type=iteration, help="t, from 1.")
@click.option("--answers", required=True, type=PATH, help="pi_t's answers.")
@click.option("--previous-answers", required=True, type=PATH, help="pi_{t-1}'s answers.")
@click.option("--answer-rewards", required=True, type=PATH, help="Rewards of both.")
@click.option("--ranked-pairs", required=True, type=PATH, help="The E-step's pairs.")
@click.option("--responses", required=True, type=PATH, help="Their responses.")
@click.option("--previous-pairs", required=True, type=PATH, help="The previous iteration's mix.")
@click.option("--prompts", required=True, type=PATH, help="The reward split D_M.")
@click.option("--seed-pairs", required=True, type=PATH, help="The pairs r_0 was trained on.")
@click.option("--duels", required=True, type=PATH, help="Duels of all checkpoints.")
@click.option("--selection", required=True, type=PATH, help="The selection split D_MS.")
@click.option("--decision", "decided", required=True, type=PATH, help="Whether to go on.")
@click.option("--out", required=True, type=PATH, help="Folder of the iteration.")
def main(
    iteration: str,
    answers: Path,
    previous_answers: Path,
    answer_rewards: Path,
    ranked_pairs: Path,
    responses: Path,
    previous_pairs: Path,
    prompts: Path,
    seed_pairs: Path,
    duels: Path,
    selection: Path,
    decided: Path,
    out: Path,
) -> None:
    """Label, filter and mix the pairs r_t is trained on (M-step, steps 1 to 3)."""
    if not decision.read(decided).active:
        build_pairs.write_stopped(out)
        return
    with perf.measure(out, "build_pairs"):
        build_pairs.build(
            build_pairs.PairInputs(
                answers,
                previous_answers,
                answer_rewards,
                ranked_pairs,
                responses,
                previous_pairs,
                prompts,
                seed_pairs,
                duels,
                selection,
            ),
            int(iteration),
            params.load(blocks.BuildPairs),
            params.seed(),
            out,
        )


if __name__ == "__main__":
    run(main)
