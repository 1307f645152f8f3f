"""What stages took on this machine before: the numbers of run/*/perf, and how they carry over."""

import math
from collections.abc import Mapping
from pathlib import Path

from mutual_taught.artifacts.files import NUMBER, read_json
from mutual_taught.errors import InputError
from mutual_taught.terminal.signs import excerpt

RUN = Path("run")
START = 5.0  # seconds in which a stage starts and imports, where no run has measured it
BETWEEN = 0.5  # seconds of DVC from one stage to the next: 12 s of 27 stages of the tiny preset
KIN = {"eval_base": "eval", "eval": "eval_base"}  # stages that do the same to other models
Numbers = Mapping[str, float]


def history(run: Path = RUN) -> dict[str, Numbers]:
    """Read what each stage of a run took, by the name of the stage.

    Raises:
        InputError: a file holds something else than numbers.
    """
    found = {}
    for path in sorted(run.glob("*/perf/*.json")):
        t = path.parent.parent.name
        if NUMBER(t):
            found[path.stem if t == "0" else f"{path.stem}@{t}"] = _numbers(path)
    return found


def _numbers(path: Path) -> Numbers:
    values = read_json(path)
    for name, value in values.items():
        if type(value) not in (int, float) or not 0 <= value < math.inf:
            raise InputError(f"{path}: {name} is {excerpt(value)!r}; expected a number; remove it")
    return dict(values)


def nearest(stage: str, known: Mapping[str, Numbers]) -> Numbers | None:
    """Find the measured stage most like one: itself, else that of another iteration, else its kin.

    Of other iterations the slowest is taken, because a stage that went on after an interruption
    measures only what was left.
    """
    if stage in known:
        return known[stage]
    name = stage.split("@")[0]
    for kin in (name, KIN.get(name)):
        alike = [numbers for other, numbers in known.items() if other.split("@")[0] == kin]
        if alike:
            return max(alike, key=lambda numbers: numbers.get("seconds", 0.0))
    return None


def whole(numbers: Numbers, factor: float = 1.0) -> float:
    """Give the seconds of a stage from the end of the one before it to its own.

    Args:
        numbers: of the measured stage.
        factor: how many times its work there is to do.
    """
    return BETWEEN + numbers.get("start_seconds", START) + factor * numbers.get("seconds", 0.0)
