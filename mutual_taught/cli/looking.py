"""Commands that look at a run, or at what it needs: status, verify, trace, why, doctor."""

import json
import math
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mutual_taught.cli.place import PLACE, spelled
from mutual_taught.terminal import process
from mutual_taught.terminal.signs import without_secrets

if TYPE_CHECKING:
    from mutual_taught.audit.faults import Fault
    from mutual_taught.audit.resample import Redrawn
    from mutual_taught.audit.rescore import Rescored

AS_JSON = click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print it as JSON, texts in full (token ids are in the tables).",
)
SPLIT = click.Choice(["policy", "reward", "selection", "eval"])


@click.command(short_help="Show how far the run is, iteration by iteration.")
@click.option("--run", "folder", default="run", type=PLACE, help="Folder of the run.")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
@click.option("--watch", is_flag=True, help="Show it anew every few seconds until the run ends.")
@click.option("--every", default=5.0, type=click.FloatRange(min=0.2), help="Seconds, of --watch.")
def status(folder: Path, as_json: bool, watch: bool, every: float) -> None:
    """Show what happened so far, iteration by iteration.

    Says whether the run is not run, not pulled, running, unfinished, stopped or finished, and what
    to do next. Works while dvc repro runs: `mutual-taught status --watch` in a second terminal.
    """
    from mutual_taught.reading import status as table

    if as_json and watch:
        raise click.UsageError("--json and --watch: expected one of them")
    if as_json:
        click.echo(table.as_json(folder))
    elif watch:
        table.watch(folder, every)
    else:
        table.show(folder)


class Shards(click.IntRange):
    """A number of shards, or `all`."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Take `all` for as many as there are."""
        return sys.maxsize if value == "all" else super().convert(value, param, ctx)


SHARDS = Shards(min=0)


@click.command(short_help="Recompute every decision from the artifacts.")
@click.option("--run", "folder", default="run", type=PLACE, help="Folder of the run.")
@click.option("--models/--no-models", default=True, help="Hash the models' files, too.")
@click.option(
    "--resample",
    "drawn",
    type=SHARDS,
    default=0,
    help="Draw so many random shards of answers again, or all.",
)
@click.option(
    "--rescore",
    "scored",
    type=SHARDS,
    default=0,
    help="Score so many random shards again, or all.",
)
@click.option("--seed", default=0, help="Of the choice of shards.")
def verify(folder: Path, models: bool, drawn: int, scored: int, seed: int) -> None:
    """Recompute every decision of a run from its artifacts, and check every digest.

    Pairs, tolerances, filters, duels, the chosen checkpoint, the mix, gold, judgements and all
    metrics are made again from only the tables and compared cell by cell. Says what differs,
    where, and what was expected; exit code 1 if anything does. params.yaml must be the run's.

    --resample draws answers again with their seeds. On the same kind of machine they are
    bit-equal; another kind may round otherwise. --rescore computes rewards again, and log-probs
    under DPO's reference and pi_0. Both take a number of shards, or all.

    Example: mutual-taught verify --resample 2 --rescore 2
    """
    from mutual_taught.audit import verify as checking

    faults = 0
    for fault in checking.verify(folder, models):
        process.say(str(fault))
        faults += 1
    for line in checking.notes(folder):
        process.say(f"note: {line}")
    if not faults:
        process.say(f"{folder}: every decision and every digest is as it should be")
    if drawn:
        from mutual_taught.audit import resample

        faults += _say_shards(checking.guarded(folder, resample.resample(folder, drawn, seed)))
    if scored:
        from mutual_taught.audit import rescore

        faults += _say_shards(checking.guarded(folder, rescore.rescore(folder, scored, seed)))
    if faults:
        raise click.ClickException(f"faults found: {faults}, each in a line above")


def _say_shards(made_again: Iterable["Fault | Redrawn | Rescored"]) -> int:
    """Say in a line each what became of shards made again; count those that are not as stored."""
    faults = 0
    for one in made_again:
        process.say(str(one))
        faults += not one.agrees
    return faults


@click.command(short_help="Write the report as a page for the browser.")
@click.argument("names", nargs=-1, metavar="[EXP|FOLDER]...")
@click.option("--run", "folder", default="run", type=PLACE, help="Folder of the run.")
@click.option("--open", "opened", is_flag=True, help="Open the page in the browser.")
@click.option("--price", type=click.FloatRange(min=0), help="Of an hour of the machine.")
@click.option("--compare", "several", is_flag=True, help="A page over several runs.")
def report(
    names: tuple[str, ...], folder: Path, opened: bool, price: float | None, several: bool
) -> None:
    """Write the report as a page for the browser: one file that needs no network.

    run/report.html is the page of the last iteration's report, with what is of this machine: the
    commit, versions, and what each stage took. --price adds what the run cost.

    --compare writes run/comparison.html, a page over several runs: parameters that differ, paired
    differences to the first one, and means over seeds. A name is an experiment, a commit, branch or
    tag, or a folder with a run. Without names: the files here and all experiments of this commit.

    \b
    Example: mutual-taught report --open
             mutual-taught report --compare workspace small-beta
    """
    if names and not several:
        raise click.UsageError("names go with --compare; expected none, or --compare")
    if price is not None and not math.isfinite(price):
        raise click.UsageError(f"--price is {price}; expected a number, such as 2.50")
    if price is not None and several:
        raise click.UsageError("--price and --compare: expected one of them")
    if several:
        from mutual_taught.reading import side_by_side

        path, notes = side_by_side.write([spelled(name) for name in names], folder)
        for note in notes:
            process.say(f"note: {note}")
    else:
        from mutual_taught.reading import report as writing

        path = writing.write(folder, price)
    process.say(f"written: {path}")
    if opened:
        click.launch(path.resolve().as_uri())


@click.command(short_help="List prompts with their ids, for trace.")
@click.option("--run", "folder", default="run", type=PLACE, help="Folder of the run.")
@click.option("--split", type=SPLIT, help="Only prompts of this split.")
@click.option(
    "--contains", default="", metavar="TEXT", help="Only prompts with this text in a turn."
)
@click.option("--worst", type=click.IntRange(min=1), help="So many eval prompts of lowest gold.")
@click.option("--dropped", is_flag=True, help="Rows of the source that are no prompts, and why.")
@click.option("--limit", default=20, type=click.IntRange(min=0), help="Lines to show; 0: all.")
@click.option("--json", "as_json", is_flag=True, help="Print whole prompts as JSON.")
def prompts(
    folder: Path,
    split: str | None,
    contains: str,
    worst: int | None,
    dropped: bool,
    limit: int,
    as_json: bool,
) -> None:
    """List prompts with their ids, for `trace`.

    Gold and reward are means over the prompt's answers at the last iteration that has some: gold
    on the eval split, the reward model's on the policy split. --worst sorts by gold, then by how
    much it changed since iteration 0. Such as: mutual-taught prompts --split eval --contains comma
    """
    from mutual_taught.reading import prompt_list

    if dropped and (split or worst):
        raise click.UsageError("--dropped has no --split and no --worst; expected one of them")
    if dropped:
        found = prompt_list.dropped(folder, contains)
        lines = prompt_list.dropped_lines(found)
    else:
        found = prompt_list.prompts(folder, split, contains, worst)
        lines = prompt_list.lines(found)
    if as_json:
        click.echo(json.dumps(found[: limit or None], indent=2))
        return
    for line in lines[: limit or None]:
        process.say(line)
    if limit and len(lines) > limit:
        process.say(f"… and {len(lines) - limit} more (--limit 0 shows all)")
    if not lines:
        process.say("no such prompt")


@click.command(short_help="Tell a prompt's whole life.")
@click.argument("prompt_id", required=False)
@click.option("--random", "drawn", is_flag=True, help="Any prompt, in place of PROMPT_ID.")
@click.option("--split", type=SPLIT, help="Of --random: a prompt of this split.")
@click.option("--seed", default=None, type=int, help="Of --random: the same prompt every time.")
@click.option("--full", is_flag=True, help="Show texts whole.")
@click.option("--run", "folder", default="run", type=PLACE, help="Folder of the run.")
@AS_JSON
def trace(
    prompt_id: str | None,
    drawn: bool,
    split: str | None,
    seed: int | None,
    full: bool,
    folder: Path,
    as_json: bool,
) -> None:
    """Tell a prompt's whole life: answers, rewards, pairs, duels, who learnt from it.

    PROMPT_ID is an id, or its first six or more characters; `mutual-taught prompts` lists them.
    Such as: mutual-taught trace --random --split policy --full
    """
    from mutual_taught.reading import trace as stories
    from mutual_taught.reading import trace_text

    if drawn == (prompt_id is not None) or (split and not drawn):
        raise click.UsageError(
            "expected PROMPT_ID, or --random, with --split if you like; "
            "mutual-taught prompts lists the ids"
        )
    if prompt_id is None:
        from mutual_taught.reading import prompt_list

        prompt_id = prompt_list.draw(folder, split, seed)
    story = stories.prompt(folder, prompt_id)
    _print(story, lambda: trace_text.lines(story, folder, full), as_json)


@click.command(short_help="Tell why a reward model learnt from a pair.")
@click.argument("pair_id", required=False)
@click.option("--random", "drawn", is_flag=True, help="Any pair, in place of PAIR_ID.")
@click.option("--seed", default=None, type=int, help="Of --random: the same pair every time.")
@click.option("--full", is_flag=True, help="Show texts whole.")
@click.option("--run", "folder", default="run", type=PLACE, help="Folder of the run.")
@AS_JSON
def why(
    pair_id: str | None, drawn: bool, seed: int | None, full: bool, folder: Path, as_json: bool
) -> None:
    """Tell why a pair is among those a reward model was trained on.

    PAIR_ID is an id of run/*/reward_pairs.parquet, or its first six or more characters; `trace`
    names the pairs of a prompt. Such as: mutual-taught why --random
    """
    from mutual_taught.reading import trace as stories
    from mutual_taught.reading import trace_text

    if drawn == (pair_id is not None):
        raise click.UsageError(
            "expected PAIR_ID, or --random; mutual-taught trace names the pairs of a prompt"
        )
    if pair_id is None:
        from mutual_taught.reading import prompt_list

        pair_id = prompt_list.draw_pair(folder, seed)
    story = stories.pair(folder, pair_id)
    _print(story, lambda: trace_text.pair_lines(story, full), as_json)


@click.command(short_help="Check the machine, params.yaml and the models.")
@click.option("--run", "folder", default="run", type=PLACE, help="Folder of the run.")
def doctor(folder: Path) -> None:
    """Look at the machine, params.yaml and the prepared models, and say what is wrong.

    Use it before a first run, on a new machine, and with a new model. It compares the preset with
    GPUs, memory and disk, looks at git, DVC and the packages that settings need, and asks the hub
    for what params.yaml takes from it. FAIL would stop a run; a note would not.

    The same checks of tokenizers, templates and rewards run at the start of every stage that loads
    a model; a stage refuses with the reason.

    Example: mutual-taught doctor
    """
    from mutual_taught.planning import doctor as looking
    from mutual_taught.planning.doctor_machine import Note

    faults = 0
    for check in looking.examine(folder):
        found = without_secrets(f"{check.name}: {check.found}")
        *_, advice = check
        mark = "ok" if not advice else "note" if isinstance(check, Note) else "FAIL"
        process.say(f"{mark:4}  {found}")
        if advice:
            process.say(f"      {without_secrets(advice)}")
        faults += mark == "FAIL"
    if faults:
        raise click.ClickException(f"{faults} of these would stop a run")


def _print(story: dict[str, Any], lines: Callable[[], Sequence[str]], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(story, indent=2))  # only ASCII, which no terminal takes for more
        return
    for line in lines():
        for part in line.split("\n"):  # a text that is shown whole has several
            process.say(part)
