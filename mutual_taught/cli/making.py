"""Commands that make data of the repository: seed-preferences."""

from pathlib import Path

import click

from mutual_taught.cli.place import PLACE
from mutual_taught.config import blocks
from mutual_taught.terminal import process

COUNT, SHARE = click.IntRange(min=1), click.FloatRange(0, 1)


@click.command("seed-preferences", short_help="Make data/seed_preferences.parquet anew.")
@click.option("--policy", default="run/0/policy", type=PLACE, help="The base policy.")
@click.option("--templates", default="data/templates.yaml", type=PLACE, help="Prompt templates.")
@click.option("--out", default="data", type=PLACE, help="Folder for seed_preferences.parquet.")
@click.option("--prompts", "count", default=700, type=COUNT, help="Prompts to ask.")
@click.option("--train", default=176, type=COUNT, help="Pairs to train r_0 on.")
@click.option("--heldout", default=300, type=COUNT, help="Pairs to measure reward models on.")
@click.option(
    "--longer", default=0.6, type=SHARE, help="Share of pairs whose chosen answer is the longer."
)
def seed_preferences(
    policy: Path, templates: Path, out: Path, count: int, train: int, heldout: int, longer: float
) -> None:
    """Make data/seed_preferences.parquet: the base policy's own answers, ranked by gold.

    The file in the repository was made by this command on the laptop preset; making it again
    takes minutes and is only needed for another policy or other templates. Prints
    how often the policy follows each instruction.

    Example: mutual-taught seed-preferences --prompts 100 --train 40 --heldout 20 --out mine
    """
    from mutual_taught.config import params
    from mutual_taught.prepare import seed_preferences as making

    recipe = making.Recipe(templates, count, making.Sizes(train, heldout, longer))
    drawing = blocks.Drawing(params.load(blocks.Engine), params.load(blocks.Tokens), params.seed())
    measured = making.make(policy, recipe, params.load(blocks.Sample), drawing, out)
    click.echo("instruction | prompts | complies | differ | gold | passed | tokens | cut")
    for name, prompts, complies, differ, gold, passed, tokens, cut in measured:
        shares = " | ".join(f"{share:.2f}" for share in (complies, differ, gold, passed))
        process.say(f"{name} | {prompts} | {shares} | {tokens:.1f} | {cut:.2f}")
    process.say(f"wrote {out / 'seed_preferences.parquet'}")
