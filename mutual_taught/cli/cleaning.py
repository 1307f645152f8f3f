"""Commands that make room on the disk: gc."""

import json
from typing import TYPE_CHECKING

import click

from mutual_taught.keeping.disk import spell
from mutual_taught.terminal import process

if TYPE_CHECKING:
    from mutual_taught.keeping.garbage import Found

KINDS = ("work", "temporary", "logs", "leftovers", "cache")


@click.command()
@click.argument("kinds", nargs=-1, type=click.Choice(KINDS))
@click.option("--yes", is_flag=True, help="Remove what is listed.")
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON, sizes in bytes.")
def gc(kinds: tuple[str, ...], yes: bool, as_json: bool) -> None:
    """List what can be removed from the disk, and at what cost.

    Removes nothing without --yes. KINDS are work (parts in .work of stages that have ended),
    temporary (folders of killed experiments), logs, leftovers (iterations in run/ that params.yaml
    does not have), cache (objects of DVC's cache that no workspace, commit, tag or experiment
    refers to); all of them if none is named.

    Use it when the disk is full, in place of `dvc gc -w`, which deletes the data of other branches
    and experiments. For example, `mutual-taught gc work --yes`.
    """
    from mutual_taught.keeping import garbage

    found = garbage.collect(kinds or KINDS, remove=yes)
    if as_json:
        click.echo(_as_json(found, yes))
        return
    _show(found)
    if not found.items:
        process.say("nothing can go")
    elif yes:
        process.say(f"removed; {spell(found.frees)} are free again")
    else:
        process.say(f"nothing was removed; with --yes {spell(found.frees)} come free")


def _show(found: "Found") -> None:
    """Print what can go, one a line, largest first, then what is kept and why."""
    items = sorted(found.items, key=lambda item: -item.frees)
    width = max((len(item.name) for item in items), default=0)
    for item in items:
        process.say(f"{spell(item.frees):>9}  {item.name:{width}}  again: {item.again}")
    for kind in sorted({item.kind for item in items}):
        listed = [item for item in items if item.kind == kind]
        process.say(f"{kind}: {len(listed)}, {spell(sum(item.frees for item in listed))}")
    for reason in found.kept:
        process.say(f"kept: {reason}")


def _as_json(found: "Found", removed: bool) -> str:
    items = [{**item._asdict(), "paths": list(map(str, item.paths))} for item in found.items]
    payload = {"items": items, "frees": found.frees, "kept": found.kept, "removed": removed}
    return json.dumps(payload, indent=2)
