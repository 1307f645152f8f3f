"""How far a run has come, told from its files, params.yaml and dvc.lock, while DVC may be at work.

DVC itself is not asked: its lock is held while a stage runs.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, NamedTuple

import psutil

from mutual_taught.artifacts import decision, files
from mutual_taught.config import params
from mutual_taught.errors import InputError, MissingFileError, MutualTaughtError
from mutual_taught.pipeline import taken
from mutual_taught.planning import graph, schedule

RUN, LOCK = Path("run"), Path("dvc.lock")
DVC = Path(".dvc")
WAY_OUT = "mutual-taught gc leftovers lists what can go"
Kind = Literal["not run", "not pulled", "running", "unfinished", "stopped", "finished"]


class Running(NamedTuple):
    """A stage that runs: `place` of `stages` (from 1), seconds since its start, seconds left."""

    stage: str
    place: int
    stages: int
    seconds: float
    left: float | None


class State(NamedTuple):
    """What became of a run.

    Attributes:
        kind: how far it has come.
        missing: the first output that is not there, and its stage; None if all are.
        changed: parameters whose value is another than the one that the run was made with.
        running: stages at work on this machine, also of experiments elsewhere in the project.
        leftovers: iterations that are there and that params.yaml does not have.
    """

    kind: Kind
    missing: tuple[str, Path] | None
    changed: tuple[str, ...]
    running: tuple[Running, ...]
    leftovers: tuple[str, ...]


def look(run: Path) -> State:
    """Look at a run. Nothing is changed, and nothing waits for another process.

    Raises:
        InputError: params.yaml, dvc.yaml or dvc.lock is not as expected.
    """
    there = present(run)
    if not there and run != RUN:
        raise MissingFileError(f"{run}: holds no iteration; expected the folder of a run")
    keys = expected(run)
    leftovers = tuple(key for key in there if key not in keys)
    busy = tuple(running())
    listed = _outputs(run)
    if listed is None:  # a run that came without its project
        if not keys:
            raise MissingFileError(f"{run}: holds no iteration; run dvc repro first")
        last = run / keys[-1] / "report" / "report.md"
        missing = None if last.exists() else (f"report@{keys[-1]}", last)
        return State(_whole(run, keys) if missing is None else "unfinished", missing, (), (), ())
    locked = _locked()
    absent = [(stage, path) for stage, path in listed if not path.exists()]
    if not absent:
        made = {stage: locked[stage] for stage, _ in listed if stage in locked}
        return State(_whole(run, keys), None, _changed(made), busy, leftovers)
    return State(_kind(absent, len(listed), locked, busy), absent[0], (), busy, leftovers)


def expected(run: Path) -> list[str]:
    """List the iterations that a run is to have: those of its params.yaml, else those there are.

    Raises:
        InputError: params.yaml is not as expected.
    """
    path = beside(run)
    return ["0", *params.validate(params.read(path), path).iterations] if path else present(run)


def beside(run: Path) -> Path | None:
    """Find the params.yaml that a run was made with: beside its folder; None if there is none."""
    path = run.parent / params.PARAMS
    return path if path.exists() else None


def present(run: Path) -> list[str]:
    """List the iterations whose folders are there, in order."""
    try:
        return [folder.name for folder in files.iterations(run)]
    except MissingFileError:
        return []


def running() -> Iterator[Running]:
    """Find the stages at work: begun, not ended, and what started them is alive."""
    for path in sorted(schedule.folder().glob("*.json")):
        with suppress(MutualTaughtError, OSError, psutil.Error):
            began = psutil.Process(int(path.stem)).create_time()
            if path.stat().st_mtime < began:
                continue  # of an earlier process of this number
            plan = schedule.read(path)
            order = list(plan.order)
            for stage in set(plan.started) - set(plan.finished):
                since = time.time() - plan.started[stage]
                left = schedule.seconds_left(plan, stage) if stage in order else None
                rest = None if left is None else max(left - since, 0.0)
                place = order.index(stage) + 1 if stage in order else 0
                yield Running(stage, place, len(order), since, rest)


def _outputs(run: Path) -> list[tuple[str, Path]] | None:
    """List every output with its stage, in the order of the graph; None where there is no graph."""
    if run != RUN or not (graph.GRAPH.exists() and params.PARAMS.exists()):
        return None
    nodes = graph.read()
    order = {name: place for place, name in enumerate(graph.sorted_as_dvc(nodes))}
    nodes.sort(key=lambda node: order[node.name])
    return [(node.name, Path(out)) for node in nodes for out in node.outs]


def _whole(run: Path, keys: list[str]) -> Kind:
    last = run / keys[-1] / "decision.json"
    return "finished" if not last.exists() or decision.read(last).active else "stopped"


def _kind(
    absent: list[tuple[str, Path]],
    outputs: int,
    locked: Mapping[str, Any],
    busy: tuple[Running, ...],
) -> Kind:
    """Tell apart why outputs are not there."""
    stages = {stage for stage, _ in absent}
    if any(at.stage in stages for at in busy):
        return "running"
    made = {out["path"]: out["md5"] for lock in locked.values() for out in lock.get("outs", [])}
    if len(absent) == outputs and not made:
        return "not run"
    known = [made[path.as_posix()] for _, path in absent if path.as_posix() in made]
    cache = taken.cache()
    elsewhere = any(not (cache / md5[:2] / md5[2:]).exists() for md5 in known)
    return "not pulled" if elsewhere else "unfinished"


def _locked() -> dict[str, Any]:
    """Read what dvc.lock says of each stage."""
    if not LOCK.exists():
        return {}
    stages = params.read(LOCK).get("stages") or {}
    if not isinstance(stages, dict) or not all(map(_is_of_dvc, stages.values())):
        raise InputError(
            f"{LOCK}: stages is not as DVC writes it; expected outs with path and md5; "
            "git checkout dvc.lock, or dvc repro"
        )
    return stages


def _is_of_dvc(lock: object) -> bool:
    if not isinstance(lock, dict) or not isinstance(lock.get("outs", []), list):
        return False
    return all(
        isinstance(out, dict) and {"path", "md5"} <= out.keys() for out in lock.get("outs", [])
    )


def _changed(locked: Mapping[str, Any]) -> tuple[str, ...]:
    """Name the parameters that are not what dvc.lock says the run was made with."""
    values = params.read(params.PARAMS)
    found: dict[str, None] = {}
    for stage in locked.values():
        for name, value in stage.get("params", {}).get("params.yaml", {}).items():
            found.update(dict.fromkeys(_differ(name, value, _value(values, name))))
    return tuple(found)


def _differ(name: str, old: object, new: object) -> list[str]:
    """List the keys in which two values differ."""
    if isinstance(old, dict) and isinstance(new, dict):
        return [
            found
            for key in sorted({*old, *new})
            for found in _differ(f"{name}.{key}", old.get(key), new.get(key))
        ]
    return [] if old == new else [name]


def _value(values: Mapping[str, Any], name: str) -> object:
    found: object = values
    for part in name.split("."):
        if not isinstance(found, Mapping):
            return None
        found = found.get(part)
    return found
