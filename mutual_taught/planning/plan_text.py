"""A plan in words, and as JSON."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mutual_taught.planning.machine import GB
from mutual_taught.planning.plan import Plan, Planned
from mutual_taught.planning.schedule import spell
from mutual_taught.planning.stale import Todo
from mutual_taught.planning.workload import Work

SHOWN = 3  # reasons of a stage
WORDS = {
    "restore": "restored from DVC's cache",
    "keep": "kept as they are",
    "pull": "would be pulled: dvc pull, or dvc repro --pull; without either they run again",
}
SOURCES = {
    "measured": "from what this machine measured before (run/*/perf)",
    "calibrated": "from their operations and the speed of the device",
}


def lines(made: Plan) -> Iterator[str]:
    """Tell a plan: what runs and why, what does not, time, memory, disk, and what does not fit."""
    running = [stage for stage in made.stages if stage.todo.action == "run"]
    total = f"{len(running)} of {len(made.stages)} stages will run"
    yield f"{total}{_time(running)}" if running else "Nothing to do: no stage will run."
    width = max((len(stage.todo.stage) for stage in running), default=0)
    for stage in running:
        yield f"  {stage.todo.stage:{width}}  {_about(stage)}"
    for action, words in WORDS.items():
        names = [stage.todo.stage for stage in made.stages if stage.todo.action == action]
        if names:
            yield f"{len(names)} {words}: {', '.join(names)}"
    if running:
        yield "Counts and bytes are the most there can be: all pairs kept, no iteration stopped."
        yield from _sums(made, running)
    yield from made.notes
    yield from (f"FAIL  {fault}" for fault in made.faults)


def _time(running: list[Planned]) -> str:
    """Sum the time, and say where the numbers come from."""
    known = [stage for stage in running if stage.time.seconds is not None]
    sources = [
        f"{sum(stage.time.source == source for stage in known)} {words}"
        for source, words in SOURCES.items()
        if any(stage.time.source == source for stage in known)
    ]
    if len(known) < len(running):
        sources.append(f"{len(running) - len(known)} unknown")
    seconds = sum(stage.time.seconds or 0.0 for stage in known)
    at_least = "at least" if len(known) < len(running) else "in about"
    return f", {at_least} {spell(seconds)}: {'; '.join(sources)}"


def _about(stage: Planned) -> str:
    """Tell a stage's reasons, counts, time and memory."""
    why = _shortened(stage.todo)
    seconds = "?" if stage.time.seconds is None else spell(stage.time.seconds)
    memory = f", {stage.need.total / GB:.1f} GB" if stage.need else ""
    counts = "".join(f", {count}" for count in _counts(stage.work))
    return f"{seconds}{memory}{counts} ({'; '.join(why)})"


def _shortened(todo: Todo) -> list[str]:
    """Give the first reasons, and the first parameters, and how many more there are."""
    found = [
        f"params {_few(todo.params)}" if one.startswith("params ") else one for one in todo.why
    ]
    more = len(found) - SHOWN
    return [*found[:SHOWN], *([f"{more} more"] if more > 0 else [])]


def _few(keys: Sequence[str]) -> str:
    more = f" and {len(keys) - SHOWN} more" if len(keys) > SHOWN else ""
    return ", ".join(keys[:SHOWN]) + more


def _counts(work: Work) -> Iterator[str]:
    """Spell the counts that are not 0, but for the width, which is in them."""
    for name, count in work._replace(width=0)._asdict().items():
        if count:
            yield f"{count:,} {name}"


def _sums(made: Plan, running: list[Planned]) -> Iterator[str]:
    """Tell the machine, the largest memory of a device, the host's and the disk."""
    yield f"Machine: {made.machine.description}"
    most = max((stage for stage in running if stage.need), default=None, key=_bytes)
    if most is not None and most.need is not None:
        yield f"Memory of a device: {_parts(most.need.parts)} ({most.todo.stage})"
    if made.host:
        yield f"Memory of the host: {_parts(made.host)}"
    for t, parts in made.disk.items():
        yield f"Disk, iteration {t}: {_parts(parts)}"


def _bytes(stage: Planned) -> int:
    return stage.need.total if stage.need else 0


def _parts(parts: Mapping[str, int]) -> str:
    """Write a sum: its total, then what it is made of, the largest first."""
    listed = sorted(parts.items(), key=lambda item: -item[1])
    terms = ", ".join(f"{size / GB:.1f} {name}" for name, size in listed if size)
    return f"{sum(parts.values()) / GB:.1f} GB: {terms}"


def as_json(made: Plan) -> dict[str, Any]:
    """Give a plan as JSON values; seconds are null where nothing tells, memory in bytes."""
    return {
        "machine": made.machine._asdict(),
        "stages": [
            {
                "stage": stage.todo.stage,
                "action": stage.todo.action,
                "why": list(stage.todo.why),
                "work": stage.work._asdict(),
                "seconds": stage.time.seconds,
                "seconds_from": stage.time.source,
                "device_memory": dict(stage.need.parts) if stage.need else {},
            }
            for stage in made.stages
        ],
        "disk": {t: dict(parts) for t, parts in made.disk.items()},
        "host_memory": dict(made.host),
        "notes": made.notes,
        "faults": made.faults,
    }
