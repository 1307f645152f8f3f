"""Commands on experiments: exp, grid, compare."""

import shutil
import sys
from pathlib import Path

import click

from mutual_taught.artifacts.files import write_bytes
from mutual_taught.cli.place import PLACE, spelled
from mutual_taught.cli.settings import PRESETS, complete_ablation
from mutual_taught.terminal import process


@click.command(short_help="Check values, then run them as an experiment.")
@click.option(
    "-S",
    "--set-param",
    "values",
    multiple=True,
    metavar="KEY=VALUE",
    help="A value of params.yaml; may be given several times.",
)
@click.option("-n", "--name", help="Name of the experiment.  [default: DVC makes one]")
@click.option("--queue", is_flag=True, help="Put it into DVC's queue: dvc queue start runs it.")
@click.option("--temp", is_flag=True, help="Run it in a folder of its own, not in this one.")
@click.argument("rest", nargs=-1, metavar="[-- STAGE OR OPTION OF DVC]...")
def exp(
    values: tuple[str, ...], name: str | None, queue: bool, temp: bool, rest: tuple[str, ...]
) -> None:
    """Check values of params.yaml, then run them as an experiment of DVC.

    Use it in place of `dvc exp run`, which it calls with the same options. DVC writes a value
    into params.yaml before a stage can refuse it, and there it stays; this command refuses it
    first, and leaves params.yaml as it is.

    \b
    Example: mutual-taught exp -S dpo.beta=0.05 -n small-beta
    """
    from mutual_taught.config import overrides
    from mutual_taught.running import experiments, repro
    from mutual_taught.running.interrupt import InterruptedRunError

    if hidden := [one for one in rest if one.startswith(("-S", "--set-param"))]:
        raise click.UsageError(f"{hidden[0]} stands after --; expected it before, to be checked")
    experiments.require_commit()
    made = overrides.composed(values)
    if len(made) > 1 and not queue:
        raise click.UsageError(f"-S makes {len(made)} experiments; expected one, or --queue")
    for note in experiments.notes(apart=queue or temp):
        process.say(f"note: {note}")
    options = [part for value in values for part in ("-S", value)]
    options += ["-n", name] if name else []
    options += ["--queue"] * queue + ["--temp"] * temp
    try:
        code = repro.dvc(["exp", "run", *options, *rest])
    except InterruptedRunError as ended:
        click.echo(str(ended), err=True)
        code = ended.code
    raise click.exceptions.Exit(code)


@click.command(short_help="Queue every ablation and baseline as experiments.")
@click.option("--seeds", type=click.IntRange(min=1), default=1, help="Seeds of each: 1, 2, ...")
@click.option(
    "--only",
    "only",
    multiple=True,
    metavar="NAME",
    shell_complete=complete_ablation,
    help="An ablation, or plain; several times.",
)
@click.option(
    "--preset",
    type=click.Choice(PRESETS),
    help="What is ablated.  [default: params.yaml as it is]",
)
@click.option("--dry", is_flag=True, help="Say what would be queued; queue nothing.")
def grid(seeds: int, only: tuple[str, ...], preset: str | None, dry: bool) -> None:
    """Queue the plain method, every ablation and every baseline, for some seeds.

    Use it for the table of a paper. Each is an experiment of DVC with a name such as
    fixed-reward-model-s2. Those that are done or wait in the queue are not queued again, so the
    same command goes on after an interruption. Nothing runs before `dvc queue start`.

    \b
    Example: mutual-taught grid --seeds 3 --only plain --only no-filter
    """
    from mutual_taught.planning import schedule
    from mutual_taught.running import experiments, grid

    experiments.require_commit()
    wanted = grid.trials(seeds, only, preset)
    have = experiments.taken()
    missing = [trial for trial in wanted if trial.name not in have]
    for note in experiments.notes(apart=True):
        process.say(f"note: {note}")
    for trial in missing if dry else grid.queue(missing):
        changes = " ".join(f"-S {change}" for change in trial.overrides)
        process.say(f"{'would queue' if dry else 'queued'} {trial.name}  {changes}".rstrip())
    there = len(wanted) - len(missing)
    process.say(f"{len(missing)} {'to queue' if dry else 'queued'}, {there} there already")
    one = grid.seconds() if preset is None else None
    process.say(
        "how long is not known before a run of these parameters has ended here"
        if one is None
        else f"at most about {schedule.spell(one * len(missing))}: one run takes about "
        f"{schedule.spell(one)}, and what two have in common runs once"
    )
    process.say("start: dvc queue start -j 1; the table: mutual-taught compare --seeds")


@click.command(short_help="Compare runs and experiments in one table.")
@click.argument("names", nargs=-1, metavar="[EXPERIMENT OR FOLDER]...")
@click.option("--against", metavar="NAME", help="The baseline.  [default: the first row]")
@click.option("--seeds", is_flag=True, help="Make one row of what differs only in seed.")
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON, numbers in full.")
@click.option("--csv", "file", type=PLACE, metavar="FILE", help="Write it to FILE as CSV, too.")
def compare(
    names: tuple[str, ...], against: str | None, seeds: bool, as_json: bool, file: Path | None
) -> None:
    """Compare runs: the parameters that differ, each one's summary, and gold on the same prompts.

    Use it to see whether a change helped. Without names: the files here (workspace) and all
    experiments of this commit. A name is an experiment, a commit, branch or tag, or a folder with
    a run. Nothing is checked out, run or fetched; what is not here is a dash, and a note says how
    to get it. Brackets are 95 % intervals of the difference over the prompts that both runs have.

    \b
    Example: mutual-taught compare workspace small-beta
             mutual-taught compare --seeds --against plain
    """
    from mutual_taught.reading import compare as comparing
    from mutual_taught.reading import comparison, runs
    from mutual_taught.terminal import columns

    typed = [spelled(name) for name in names]
    first = against or (typed[0] if typed else runs.WORKSPACE)
    if typed and against and not seeds and against not in typed:
        typed = [against, *typed]
    found = runs.read(typed)
    rows = comparing.pooled(found, first) if seeds else comparing.single(found, first)
    if file is not None:
        write_bytes(file, comparison.as_csv(rows, seeds).encode())
    if as_json:
        click.echo(comparison.as_json(rows, seeds))
        return
    width = shutil.get_terminal_size().columns
    for line in columns.lines(comparison.table(rows, seeds), width, sys.stdout.encoding):
        process.say(line)
    for note in (note for row in rows for note in row.notes):
        process.say(f"note: {note}")
