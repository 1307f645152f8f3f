"""Stage train_rm: r_t, trained on the mix from r_0."""

from pathlib import Path

import click

from mutual_taught.artifacts import decision, files, tables
from mutual_taught.config import blocks, learning, params
from mutual_taught.pipeline import perf
from stages._click import PATH, Stage, iteration, run


@click.command(cls=Stage)
@click.option("--iteration", required=True, type=iteration, help="t, from 1.")
@click.option("--reward-pairs", required=True, type=PATH, help="The mix.")
@click.option("--base", required=True, type=PATH, help="The base reward model r_0.")
@click.option("--previous", required=True, type=PATH, help="The previous reward model.")
@click.option("--decision", "decided", required=True, type=PATH, help="Whether to go on.")
@click.option("--splits", required=True, type=PATH, help="Folder of the prompt splits.")
@click.option("--seed-pairs", required=True, type=PATH, help="The pairs r_0 was trained on.")
@click.option("--out", required=True, type=PATH, help="Folder of the iteration.")
def main(
    iteration: str,
    reward_pairs: Path,
    base: Path,
    previous: Path,
    decided: Path,
    splits: Path,
    seed_pairs: Path,
    out: Path,
) -> None:
    """Train the reward model on the mix, starting again from r_0 (M-step, step 4)."""
    settings, active = params.load(learning.TrainRm, iteration), decision.read(decided).active
    if not active or settings.fixed:
        files.link_tree(previous, out / "reward_model")
        files.write_curve(out / "curves" / "train_rm.csv", ("step", "loss"), [])
        numbers = {"active": float(active), "steps": 0.0} if active else {"active": 0.0}
        files.write_metrics(out / "metrics" / "train_rm.json", numbers)
        tables.empty(out, tables.REWARD_TRAINING)
        return
    from mutual_taught.steps import train_rm
    from mutual_taught.training import reward
    from mutual_taught.training.settings import Recipe

    pairs = tables.read(reward_pairs, tables.REWARD_PAIRS)
    with perf.measure(out, "train_rm") as measured:
        outcome = train_rm.train_reward_model(
            train_rm.Mix(pairs, train_rm.conversations(splits, seed_pairs)),
            train_rm.Starts(base, previous),
            out,
            Recipe(settings, params.load(learning.Training), params.seed()),
            params.load(blocks.Tokens),
        )
        measured.update(steps=outcome.steps, pairs=len(pairs) * settings.epochs)
    files.write_curve(out / "curves" / "train_rm.csv", reward.CURVE, outcome.curve)
    met = reward.as_met(outcome, settings.epochs)
    tables.write(out, tables.REWARD_TRAINING, met, tables.digests(reward_pairs=pairs))
    measures = train_rm.metrics(met, outcome, out / "reward_model")
    files.write_metrics(out / "metrics" / "train_rm.json", measures)


if __name__ == "__main__":
    run(main)
