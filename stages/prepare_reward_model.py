"""Stage prepare_reward_model: the base reward model r_0."""

from pathlib import Path

import click

from mutual_taught.artifacts import files, tables
from mutual_taught.config import blocks, inputs, learning, params
from mutual_taught.pipeline import perf
from stages._click import PATH, Stage, run


@click.command(cls=Stage)
@click.option("--policy", required=True, type=PATH, help="The base policy.")
@click.option("--seed-preferences", required=True, type=PATH, help="Pairs to train r_0 on.")
@click.option("--out", required=True, type=PATH, help="Folder of iteration 0.")
def main(policy: Path, seed_preferences: Path, out: Path) -> None:
    """Put the base reward model in place (models.reward_model), trained here if so wished."""
    from mutual_taught.prepare import reward_model
    from mutual_taught.training.settings import Recipe

    tables.empty(out, tables.REWARD_PAIRS)
    settings, tokens = params.load(learning.BaseRewardModel), params.load(blocks.Tokens)
    source = params.load(inputs.Models).reward_model
    recipe = Recipe(settings, params.load(learning.Training), params.seed())
    with perf.measure(out, "prepare_reward_model") as measured:
        if source.trained_here:
            reward_model.train_base(policy, seed_preferences, out, recipe, tokens)
        else:
            reward_model.take_base(source, out, tokens)
        kept = files.read_json(out / reward_model.METRICS)["kept"]
        measured["pairs"] = kept * settings.epochs


if __name__ == "__main__":
    run(main)
