"""The stages of dvc.yaml, and the order in which DVC runs them, read without DVC."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

from mutual_taught.config import params
from mutual_taught.errors import InputError

GRAPH = Path("dvc.yaml")


class Node(NamedTuple):
    """A stage of one iteration: the paths it reads and writes, its command, the params it reads."""

    name: str
    deps: tuple[str, ...]
    outs: tuple[str, ...]
    command: str = ""
    params: tuple[str, ...] = ()


def order(graph: Path = GRAPH, values: Path = params.PARAMS) -> list[str]:
    """List all stages as `dvc repro` runs them."""
    return sorted_as_dvc(read(graph, values))


def read(graph: Path = GRAPH, values: Path = params.PARAMS) -> list[Node]:
    """Read the stages of every iteration, in the order of dvc.yaml.

    Raises:
        InputError: params.yaml is not in order, or dvc.yaml has no stages that can be read.
    """
    raw = params.read(values)
    params.validate(raw, values)
    try:
        return nodes(params.read(graph)["stages"], raw)
    except (KeyError, TypeError, AttributeError):
        raise InputError(
            f"{graph}: expected stages with cmd, deps and outs; dvc stage list says more"
        ) from None


def nodes(stages: Mapping[str, Any], values: Mapping[str, Any]) -> list[Node]:
    """Write out the stages of every iteration and benchmark they are for, in dvc.yaml's order.

    Args:
        stages: those of dvc.yaml.
        values: of params.yaml, with what a stage's `foreach` or `matrix` names.
    """
    found = []
    for name, stage in stages.items():
        body = stage.get("do", stage)
        for key, places in _instances(stage, values):
            deps, outs, names = (
                tuple(_resolved(text, places) for text in texts)
                for texts in (body.get("deps", []), _written(body), body.get("params", []))
            )
            command = _resolved(body.get("cmd", ""), places)
            found.append(Node(f"{name}@{key}" if key else name, deps, outs, command, names))
    return found


def _instances(
    stage: Mapping[str, Any], values: Mapping[str, Any]
) -> Iterator[tuple[str, Mapping[str, str]]]:
    """Give what DVC puts behind the @ of a stage's name, and what it puts into its texts.

    A stage stands once; with `foreach` once for each iteration of a map, or each name of a list;
    with `matrix` for each combination.
    """
    if "matrix" in stage:
        names = [f"item.{name}" for name in stage["matrix"]]
        for keys in product(*(_looped(source, values) for source in stage["matrix"].values())):
            yield "-".join(keys), dict(zip(names, keys, strict=True))
    elif isinstance(looped := _looped(stage.get("foreach", ""), values), Mapping):
        for key, item in looped.items():
            yield key, {"key": key, "item.prev": item["prev"]}
    else:
        for item in looped:
            yield item, {"item": item} if item else {}


def _looped(source: str, values: Mapping[str, Any]) -> Mapping[str, Any] | Sequence[str]:
    """Give the map or list that `${judge.iterations}` names; for nothing one empty name."""
    if not source:
        return [""]
    found: Any = values
    for name in source.removeprefix("${").removesuffix("}").split("."):
        found = found[name]
    return found if isinstance(found, Mapping) else list(found)


def sorted_as_dvc(listed: Sequence[Node]) -> list[str]:
    """Sort stages as DVC does: each after those it reads from, depth first.

    DVC goes through the stages in the order of dvc.yaml; before one it runs those that make its
    deps, in the order of its deps, and before them those that make theirs.
    """
    by_name = {node.name: node for node in listed}
    above = {node.name: list(_upstream(node, listed)) for node in listed}
    done: dict[str, None] = {}

    def visit(name: str) -> None:
        for other in above[name]:
            if other not in done:
                visit(other)
        done[name] = None

    for name in by_name:
        if name not in done:
            visit(name)
    return list(done)


def _upstream(node: Node, listed: Sequence[Node]) -> Iterator[str]:
    for dep in node.deps:
        for other in listed:
            if other.name != node.name and any(overlap(dep, out) for out in other.outs):
                yield other.name


def overlap(one: str, other: str) -> bool:
    """Tell whether two paths are the same, or one lies in the other."""
    return f"{one}/".startswith(f"{other}/") or f"{other}/".startswith(f"{one}/")


def _written(body: Mapping[str, Any]) -> Iterator[str]:
    for kind in ("outs", "metrics", "plots"):
        for entry in body.get(kind, []):
            yield entry if isinstance(entry, str) else next(iter(entry))


def _resolved(text: str, values: Mapping[str, str]) -> str:
    for name, value in values.items():
        text = text.replace(f"${{{name}}}", value)
    return text
