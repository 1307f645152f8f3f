"""The console command `mutual-taught`."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from mutual_taught import __version__, blocks, process
from mutual_taught.errors import MutualTaughtError
from mutual_taught.files import write_bytes
from mutual_taught.signs import without_secrets

PATH = click.Path(path_type=Path)


class Main(click.Group):
    """A group whose commands print our errors in one line, exit code 1."""

    def invoke(self, ctx: click.Context) -> object:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except MutualTaughtError as error:
            raise process.refusal(str(error)) from None


@click.group(cls=Main)
@click.version_option(__version__)
def main() -> None:
    """Mutual-Taught: a policy and its reward model improve each other.

    The pipeline itself runs under DVC: `dvc repro` runs what is not up to date, `dvc exp run -S
    dpo.beta=0.05` tries another value. These commands are for what DVC does not do.
    """
    process.begin()


@main.command()
@click.argument("name", type=click.Choice(["tiny", "laptop", "paper"]))
@click.option(
    "--with",
    "ablations",
    multiple=True,
    metavar="ABLATION",
    help="Change it by presets/ablations/ABLATION.yaml; may be given several times.",
)
@click.option("--force", is_flag=True, help="Overwrite a params.yaml with changes of yours.")
def preset(name: str, ablations: tuple[str, ...], force: bool) -> None:
    """Write params.yaml from a preset: laptop (default), tiny (tests) or paper.

    The result is checked before anything is written. A params.yaml that no preset gives, with or
    without one ablation, is yours and is kept unless you say --force.
    """
    from mutual_taught import params, presets

    text = presets.compose(name, ablations)
    if params.PARAMS.exists() and not force and not presets.known(params.PARAMS.read_bytes()):
        raise click.ClickException(
            f"{params.PARAMS} differs from every preset; expected no changes of yours; "
            "save it elsewhere, or say --force"
        )
    write_bytes(params.PARAMS, text.encode())
    changed = f" with {', '.join(ablations)}" if ablations else ""
    click.echo(f"params.yaml is now the {name} preset{changed}; dvc repro runs it")


@main.command()
def check() -> None:
    """Check params.yaml: types, ranges, unknown keys, overrides of every iteration."""
    from mutual_taught import params

    checked = params.validate(params.read(params.PARAMS))
    click.echo(f"params.yaml is in order; {len(checked.iterations)} iterations")


@main.command()
@click.argument("targets", nargs=-1)
def run(targets: tuple[str, ...]) -> None:
    """Run the pipeline (dvc repro), then show what happened and where to look.

    Stages that are up to date are not run again. TARGETS are stage names such as dpo@1; without
    any, the whole pipeline runs.
    """
    from mutual_taught import params, pipeline

    params.validate(params.read(params.PARAMS))
    if not pipeline.repro(targets):
        click.echo("Nothing to do: every stage is up to date.")
    context = click.get_current_context()
    context.invoke(status, folder=Path("run"))


@main.command()
@click.option("--run", "folder", default="run", type=PATH, help="Folder of the run.")
def status(folder: Path) -> None:
    """Show what happened so far, iteration by iteration, in one table."""
    from mutual_taught import status as table

    table.show(folder)


@main.command("seed-preferences")
@click.option("--policy", default="run/0/policy", type=PATH, help="The base policy.")
@click.option("--templates", default="data/templates.yaml", type=PATH, help="Prompt templates.")
@click.option("--out", default="data", type=PATH, help="Folder for seed_preferences.parquet.")
@click.option("--prompts", "count", default=700, help="Prompts to ask.")
@click.option("--train", default=232, help="Pairs to train r_0 on.")
@click.option("--heldout", default=116, help="Pairs to measure reward models on.")
@click.option("--longer", default=0.55, help="Share of pairs whose chosen answer is the longer.")
def seed_preferences(
    policy: Path, templates: Path, out: Path, count: int, train: int, heldout: int, longer: float
) -> None:
    """Make data/seed_preferences.parquet: the base policy's own answers, ranked by gold.

    The file in the repository was made by this command on the laptop preset; making it again
    takes a quarter of an hour and is only needed for another policy or other templates. Prints
    how often the policy follows each instruction.
    """
    from mutual_taught import params
    from mutual_taught import seed_preferences as making

    measured = making.make(
        policy, templates, out, count, making.Sizes(train, heldout, longer),
        params.load(blocks.Sample), params.load(blocks.Engine), params.load(blocks.Tokens),
        params.seed(),
    )  # fmt: skip
    click.echo("instruction | prompts | complies | differ | gold | passed | tokens | cut")
    for name, prompts, complies, differ, gold, passed, tokens, cut in measured:
        shares = " | ".join(f"{share:.2f}" for share in (complies, differ, gold, passed))
        process.say(f"{name} | {prompts} | {shares} | {tokens:.1f} | {cut:.2f}")
    process.say(f"wrote {out / 'seed_preferences.parquet'}")


@main.command()
@click.option("--run", "folder", default="run", type=PATH, help="Folder of the run.")
@click.option("--models/--no-models", default=True, help="Hash the models' files, too.")
@click.option(
    "--resample",
    "count",
    type=click.IntRange(min=0),
    default=0,
    help="Draw so many random shards again.",
)
@click.option("--seed", default=0, help="Of the choice of shards.")
def verify(folder: Path, models: bool, count: int, seed: int) -> None:
    """Recompute every decision of a run from its artifacts, and check every digest.

    Pairs, tolerances, filters, duels, the chosen checkpoint, the mix, gold, judgements and all
    metrics are made again from the tables alone and compared cell by cell. Says what differs,
    where, and what was expected; exit code 1 if anything does. params.yaml must be the run's.

    --resample draws answers again with their seeds. On the same kind of machine they are
    bit-equal; another kind may round otherwise.
    """
    from mutual_taught import verify as checking

    faults = 0
    for fault in checking.verify(folder, models):
        process.say(str(fault))
        faults += 1
    if not faults:
        process.say(f"{folder}: every decision and every digest is as it should be")
    if count:
        from mutual_taught import resample

        for shard in resample.resample(folder, count, seed):
            process.say(str(shard))
            faults += shard.same_tokens < shard.answers
    if faults:
        raise click.ClickException(f"{faults} things do not follow from the rest of the run")


@main.command()
@click.argument("prompt_id")
@click.option("--run", "folder", default="run", type=PATH, help="Folder of the run.")
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print it as JSON, texts in full (token ids are in the tables).",
)
def trace(prompt_id: str, folder: Path, as_json: bool) -> None:
    """Tell a prompt's whole life: answers, rewards, pairs, duels, who learnt from it.

    PROMPT_ID is an id of run/0/prompts.parquet, or its first six or more characters.
    """
    from mutual_taught import trace as telling

    story = telling.prompt(folder, prompt_id)
    _print(story, lambda: telling.lines(story, folder), as_json)


@main.command()
@click.argument("pair_id")
@click.option("--run", "folder", default="run", type=PATH, help="Folder of the run.")
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print it as JSON, texts in full (token ids are in the tables).",
)
def why(pair_id: str, folder: Path, as_json: bool) -> None:
    """Tell why a pair is among those a reward model was trained on.

    PAIR_ID is an id of run/*/reward_pairs.parquet, or its first six or more characters.
    """
    from mutual_taught import trace as telling

    story = telling.pair(folder, pair_id)
    _print(story, lambda: telling.pair_lines(story), as_json)


@main.command()
@click.option("--run", "folder", default="run", type=PATH, help="Folder of the run.")
def doctor(folder: Path) -> None:
    """Look at the machine, params.yaml and the prepared models, and say what is wrong.

    The same checks of tokenizers, templates and rewards run at the start of every stage that loads
    a model; a stage refuses with the reason.
    """
    from mutual_taught import doctor as looking

    faults = 0
    for check in looking.examine(folder):
        found = without_secrets(f"{check.name}: {check.found}")
        process.say(f"{'FAIL' if check.fault else 'ok':4}  {found}")
        if check.fault:
            process.say(f"      {without_secrets(check.fault)}")
            faults += 1
    if faults:
        raise click.ClickException(f"{faults} of these would stop a run")


def _print(story: dict[str, Any], lines: Callable[[], Sequence[str]], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(story, indent=2))  # ASCII alone, which no terminal takes for more
        return
    for line in lines():
        process.say(line)


if __name__ == "__main__":
    main()
