"""The command `python -m study`."""

import os
import subprocess
from pathlib import Path

import click

from mutual_taught.errors import InputError, MutualTaughtError
from mutual_taught.pipeline import devices
from mutual_taught.terminal import process
from study import made_of, results, runner
from study import plan as planning
from study.plan import ROOT, Unit

PATH = click.Path(path_type=Path)
GB = 1e9


class _Command(click.Command):
    """A command whose user errors are one line, exit code 1."""

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except MutualTaughtError as error:
            raise process.refusal(str(error)) from None


arms_option = click.option(
    "--arms", default=planning.ARMS, type=PATH, help="The study; study/arms.yaml."
)
testbed_option = click.option(
    "--testbed", default=planning.DEFAULT, help="What the arms change; a name of the study's file."
)
units_option = click.option(
    "--units", multiple=True, help="Only units with such names: mutual-*, *-s1-float32."
)
results_option = click.option(
    "--results", "found", default=results.FOLDER, type=PATH, help="Folder of the results."
)
work_option = click.option(
    "--work", default=ROOT / "study" / ".work", type=PATH, help="Folder of units at work."
)
cache_option = click.option(
    "--cache", default=ROOT / "study" / ".cache", type=PATH, help="Folder of finished stages."
)
keep_option = click.option(
    "--cache-gb", default=10.0, type=click.FloatRange(min=0), help="How much of these to keep."
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Run the study unit by unit, and report it."""


@main.command("list", cls=_Command)
@arms_option
@testbed_option
@units_option
@results_option
def list_units(arms: Path, testbed: str, units: tuple[str, ...], found: Path) -> None:
    """List the units in their order, and what became of each."""
    found = _of(found, testbed)
    plan = planning.load(arms, testbed)
    needed = set(planning.units(plan, closed=False))
    for unit in planning.chosen(planning.units(plan), units):
        place = results.path(found, unit)
        state = _state(place) if unit in needed or place.exists() else "not needed"
        click.echo(f"{unit.name:45} {state}")


@main.command(cls=_Command)
@click.option(
    "--hours", required=True, type=click.FloatRange(min=0), help="Begin no unit after so long."
)
@click.option("--jobs", default=1, type=click.IntRange(min=1), help="Units at once.")
@click.option(
    "--device", default=None, help="GPUs that jobs take in turn, such as 0 or 0,1; or cpu."
)
@click.option("--again", is_flag=True, help="Run those that were refused or failed once more.")
@click.option("--commit", is_flag=True, help="Commit the results of every unit.")
@arms_option
@testbed_option
@units_option
@results_option
@work_option
@cache_option
@keep_option
def run(
    hours: float,
    jobs: int,
    device: str | None,
    again: bool,
    commit: bool,
    arms: Path,
    testbed: str,
    units: tuple[str, ...],
    found: Path,
    work: Path,
    cache: Path,
    cache_gb: float,
) -> None:
    """Run the units that have no result, in order; go on where the last time ended."""
    shared, plan = _devices(device), planning.load(arms, testbed)
    found, work = _of(found, testbed), _of(work, testbed)
    listed = planning.chosen(planning.units(plan, closed=bool(units)), units)
    waiting = runner.pending(listed, found, again)
    finished = [unit for unit in listed if unit not in waiting]
    made_of.check(plan, (results.read(results.path(found, unit)) for unit in finished), found)
    click.echo(f"{len(waiting)} of {len(listed)} units to run")
    places = {"--arms": arms, "--results": found, "--work": work, "--cache": cache}
    command = [text for name, path in places.items() for text in (name, str(path.resolve()))]
    settings = runner.Settings(
        hours,
        jobs,
        shared,
        work.resolve() / "logs",
        found.resolve(),
        again,
        (*command, "--cache-gb", str(cache_gb), "--testbed", testbed),
    )

    def failed(unit: Unit, why: str) -> None:
        from study.unit import described

        about = described(plan, unit, results.FAILED, why)
        results.write(results.path(found, unit), about, [])

    def ended(unit: Unit) -> None:
        click.echo(f"{unit.name}: {_state(results.path(found, unit))}")
        if commit:
            _commit(results.path(found, unit), unit)

    left = runner.run(waiting, settings, failed, ended)
    click.echo(f"{len(left)} units not begun" + "".join(f"\n  {unit.name}" for unit in left))


@main.command(cls=_Command, hidden=True)
@click.argument("name")
@arms_option
@testbed_option
@results_option
@work_option
@cache_option
@keep_option
def unit(
    name: str, arms: Path, testbed: str, found: Path, work: Path, cache: Path, cache_gb: float
) -> None:
    """Run one unit in this process."""
    from study import unit as one

    plan = planning.load(arms, testbed)
    wanted = next(unit for unit in planning.units(plan) if unit.name == name)
    one.run(plan, wanted, one.Places(work, cache, found), cache_gb * GB)


@main.command(cls=_Command)
@arms_option
@testbed_option
@results_option
@click.option(
    "--page", default=ROOT / "docs" / "study.md", type=PATH, help="The page with the results."
)
def report(arms: Path, testbed: str, found: Path, page: Path) -> None:
    """Write tables and figures of the stored results into docs/study.md."""
    from study import report as writing

    writing.write(planning.load(arms, testbed), found, page)
    click.echo(str(page))


def _of(folder: Path, testbed: str) -> Path:
    """Give each testbed but the first a folder of its own: units have the same names on all."""
    return folder if testbed == planning.DEFAULT else folder / testbed


def _devices(asked: str | None) -> tuple[str, ...]:
    """Name the values of CUDA_VISIBLE_DEVICES; "-1" shows none."""
    if asked is None:
        return ()
    if asked == "cpu":
        return ("-1",)
    here = devices.names(os.environ)
    known = {*here, *map(str, range(len(here)))}
    wanted = tuple(map(str.strip, asked.split(",")))
    if unknown := [name for name in wanted if name not in known]:
        raise InputError(
            f"--device {unknown[0]!r} is no GPU of this machine; expected cpu, or some of "
            f"{', '.join(map(str, range(len(here)))) or 'none: it has no GPU'}"
        )
    return wanted


def _state(place: Path) -> str:
    """Say in one line what became of a unit."""
    if not place.exists():
        return "waits"
    about = results.read(place).about
    if about["status"] != results.DONE:
        return f"{about['status']}: {about['line']}"
    return f"done, {about['seconds']:.0f} s on {about['machine']}"


def _commit(place: Path, unit: Unit) -> None:
    """Commit one file of results, and nothing else."""
    for arguments in (["add", str(place)], ["commit", "-qm", f"Results of {unit.name}", "--"]):
        end = [str(place)] if arguments[0] == "commit" else []
        subprocess.run(["git", *arguments, *end], cwd=ROOT, check=True)


if __name__ == "__main__":
    main()
