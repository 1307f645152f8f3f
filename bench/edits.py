"""What an edit of each module runs again: stages, and their seconds in a finished run.

    python -m bench.edits                      # of the run in run/
    python -m bench.edits --run ../other/run   # its perf files, under this dvc.yaml

A stage runs again when a file under its deps changes. If it makes the same bytes as before, nothing
follows; else what reads its outputs runs, too, and so on: the last column. Modules that no stage
depends on are not listed; the means count them as 0.
"""

import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import click

from mutual_taught.planning import graph

PACKAGE = Path("mutual_taught")


class Edit(NamedTuple):
    """What an edit of a module runs: stages at once, their seconds, and with all that follows."""

    module: str
    stages: tuple[str, ...]
    seconds: float
    following: float


def edits(
    nodes: Sequence[graph.Node], seconds: Mapping[str, float], modules: Sequence[str]
) -> list[Edit]:
    """Cost an edit of each module, the dearest first.

    Args:
        nodes: the stages of every iteration.
        seconds: what each took; one that did not run counts as 0.
        modules: paths, such as `mutual_taught/keys.py`.
    """
    found = []
    for module in modules:
        direct = {node.name for node in nodes if any(covers(dep, module) for dep in node.deps)}
        spent, whole = (
            sum(seconds.get(name, 0.0) for name in names)
            for names in (direct, with_following(nodes, direct))
        )
        found.append(Edit(module, tuple(n.name for n in nodes if n.name in direct), spent, whole))
    return sorted(found, key=lambda edit: (-edit.seconds, edit.module))


def covers(dep: str, module: str) -> bool:
    """Tell whether a dep is a module, or a folder that it lies in."""
    return f"{module}/".startswith(f"{dep.rstrip('/')}/")


def with_following(nodes: Sequence[graph.Node], names: set[str]) -> set[str]:
    """Add the stages that read what these write, and so on."""
    while True:
        outs = [out for node in nodes if node.name in names for out in node.outs]
        more = {
            node.name
            for node in nodes
            if any(graph.overlap(dep, out) for dep in node.deps for out in outs)
        }
        if more <= names:
            return names
        names = names | more


def measured(run: Path) -> dict[str, float]:
    """Read the seconds of every stage of a run."""
    return {
        path.stem + (f"@{t}" if (t := path.parent.parent.name) != "0" else ""): float(
            json.loads(path.read_text(encoding="utf-8"))["seconds"]
        )
        for path in sorted(run.glob("*/perf/*.json"))
    }


@click.command()
@click.option(
    "--run",
    default=Path("run"),
    show_default=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="A finished run.",
)
def main(run: Path) -> None:
    """Show what an edit of each module runs again."""
    seconds = measured(run)
    if not seconds:
        raise click.ClickException(f"{run}: has no */perf/*.json; expected a run that has ended")
    modules = [path.as_posix() for path in sorted(PACKAGE.rglob("*.py"))]
    found = edits(graph.read(), seconds, modules)
    deciding = [edit for edit in found if edit.stages]
    for edit in deciding:
        names = ", ".join(sorted({stage.split("@")[0] for stage in edit.stages}))
        click.echo(f"{edit.module:50} {edit.seconds:6.0f} {edit.following:6.0f}  {names}")
    for what, some in (("modules", found), ("that a stage depends on", deciding)):
        same = statistics.mean(edit.seconds for edit in some)
        other = statistics.mean(edit.following for edit in some)
        click.echo(f"mean of {len(some)} {what}: {same:.0f} s, {other:.0f} s with what follows")
    click.echo(f"the whole run: {sum(seconds.values()):.0f} s")


if __name__ == "__main__":
    main()
