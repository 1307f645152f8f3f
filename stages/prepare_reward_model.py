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

    tables.empty(out, tables.REWARD_PAIRS)
    settings = params.load(learning.BaseRewardModel)
    with perf.measure(out, "prepare_reward_model") as measured:
        reward_model.prepare_base(
            policy,
            seed_preferences,
            out,
            params.load(inputs.Models).reward_model,
            settings,
            params.load(learning.Training),
            params.load(blocks.Tokens),
            params.seed(),
        )
        kept = files.read_json(out / reward_model.METRICS)["kept"]
        measured["pairs"] = kept * settings.epochs


if __name__ == "__main__":
    run(main)
