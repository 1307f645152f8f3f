"""The stages of a run in this process, by dvc.yaml, each computed once for equal inputs."""

import gc
import importlib
import shlex
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import click

from mutual_taught.artifacts import files
from mutual_taught.config import params
from mutual_taught.pipeline import work
from mutual_taught.planning import graph
from study.cache import Cache, Entry, digest_of, remove
from study.plan import ROOT

CODE = ("mutual_taught/", "stages/")
LATER = Path("params-later.yaml")  # from iteration 2 on, if it is there
LEFT_OUT = ("report", "report_base")  # they read, draw and decide nothing


class Done(NamedTuple):
    """A stage that has its outputs: the seconds it took, whether here or where it was made."""

    stage: str
    seconds: float
    here: bool


def run(cache: Cache, machine: str) -> Iterator[Done]:
    """Make every output of the run in the working directory, stage by stage.

    As DVC does, a stage is looked up by its command, its params and the digests of its deps; the
    machine's kind and the versions are part of the key, too, because draws and sums follow them.

    Args:
        cache: stages that this and other arms have finished.
        machine: kind of this machine.

    Raises:
        click.ClickException: a stage refused something, in one line.
    """
    nodes = {node.name: node for node in graph.read(ROOT / "dvc.yaml")}
    written = [_written(params.PARAMS), _written(LATER if LATER.exists() else params.PARAMS)]
    made = dict[str, str]()
    seen: dict[tuple[int, int, int], str] = {}
    for name in graph.sorted_as_dvc(list(nodes.values())):
        if name.partition("@")[0] in LEFT_OUT:
            continue
        node, t = nodes[name], name.partition("@")[2]
        raw, text = written[t.isdigit() and int(t) > 1]
        name_of = key(node, raw, made, {"machine": machine, **work.versions()})
        with cache.turn(name_of):
            entry = cache.restore(name_of, Path())
            here = entry is None
            if entry is None:
                files.write_bytes(params.PARAMS, text)
                seconds = _compute(node)
                outs = {out: digest_of(Path(out), seen) for out in node.outs}
                entry = Entry(name, outs, round(seconds, 2))
                cache.store(name_of, Path(), entry)
        made.update(entry.outs)
        yield Done(name, entry.seconds, here)


def _written(path: Path) -> tuple[dict[str, Any], bytes]:
    """Read params, and how they are written: stages of two iterations may take turns."""
    return params.read(path), path.read_bytes()


def key(
    node: graph.Node, raw: Mapping[str, Any], made: Mapping[str, str], place: Mapping[str, str]
) -> str:
    """Hash what decides a stage's outputs.

    Args:
        node: the stage.
        raw: params.yaml.
        made: digests of the outputs that stages have made so far, by path.
        place: what else decides them: machine and versions.
    """
    return files.digest(
        {
            "command": node.command,
            "params": {name: value(raw, name) for name in node.params},
            "deps": {dep: made.get(dep) or _digest(dep) for dep in node.deps},
            "place": dict(place),
        }
    )


def value(raw: Mapping[str, Any], name: str) -> Any:
    """Look a dotted key up; None if it is not there."""
    found: Any = raw
    for part in name.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def _digest(dep: str) -> str:
    """Hash a dep that no stage makes: code, which is the project's, or data, which is the run's."""
    if dep.startswith(CODE):
        return work.hash_sources([ROOT / dep])
    return digest_of(Path(dep))


def _compute(node: graph.Node) -> float:
    """Run a stage's command as dvc.yaml spells it, but in this process; give its seconds."""
    for out in node.outs:
        remove(Path(out))
    _, _, module, *arguments = shlex.split(node.command)  # python -m stages.x ...
    command: click.Command = importlib.import_module(module).main
    begin = time.monotonic()
    try:
        command.main(arguments, prog_name=module, standalone_mode=False)
    finally:
        free()
    return time.monotonic() - begin


def free() -> None:
    """Give back what the last stage's models held: several units share a GPU."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
