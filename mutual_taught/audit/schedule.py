"""What a training's curve says for certain: its steps, and the learning rate of each."""

import csv
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mutual_taught.audit.faults import Fault, Faults
from mutual_taught.config.learning import Optimisation
from mutual_taught.errors import InputError, MissingFileError

Curve = dict[str, NDArray[np.float64]]


def read_curve(path: Path, columns: Sequence[str]) -> Curve:
    """Read a curve by its columns, each of shape (steps,).

    Raises:
        MissingFileError: there is none.
        InputError: it has other columns, or what is no number.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = csv.DictReader(file)
            listed, names = list(rows), list(rows.fieldnames or ())
    except (OSError, UnicodeDecodeError):
        raise MissingFileError(f"{path}: holds no curve; run dvc repro") from None
    if not listed or names != list(columns):
        raise InputError(f"{path}: has {', '.join(names)}; expected {', '.join(columns)} and rows")
    try:
        values = np.array([[float(row[name]) for name in columns] for row in listed])
    except (TypeError, ValueError):
        raise InputError(f"{path}: has a cell that is no number; run dvc repro") from None
    return dict(zip(columns, values.T, strict=True))


def learning_rates(settings: Optimisation, steps: int) -> NDArray[np.float64]:
    """Give the learning rate of every step, shape (steps,).

    It rises from 0 in a straight line over the warm-up, whose steps are rounded up, then falls to 0
    as half a cosine or a line, or stays. The first step is made at the first rate, which is 0
    wherever there is a warm-up.

    Source: transformers.optimization, whose schedulers the trainers use.
    """
    step = np.arange(steps, dtype=np.float64)
    warmup = math.ceil(steps * settings.warmup_ratio)
    left = (step - warmup) / max(1, steps - warmup)
    after = {
        "cosine": 0.5 * (1 + np.cos(np.pi * left)),
        "linear": 1 - left,
        "constant_with_warmup": np.ones(steps),
    }[settings.scheduler]
    factor = np.where(step < warmup, step / max(1, warmup), np.maximum(after, 0))
    return settings.learning_rate * factor


def steps(path: Path, curve: Curve, planned: int, settings: Optimisation) -> Faults:
    """A curve has a row for each planned step, at the learning rate of the schedule."""
    actual = curve["step"]
    if not np.array_equal(actual, np.arange(1, planned + 1)):
        yield Fault(path, "the last step", f"{actual[-1]:g} of {len(actual)} rows", f"{planned}")
        return
    rates = learning_rates(settings, planned)
    yield from close(path, curve, "learning_rate", rates, 1e-9 * settings.learning_rate)
    for name, values in curve.items():
        if len(bad := np.flatnonzero(~np.isfinite(values))):
            yield Fault(path, f"step {bad[0] + 1} {name}", f"{values[bad[0]]}", "a number")


def close(
    path: Path, curve: Curve, name: str, expected: NDArray[np.float64], tolerance: float
) -> Faults:
    """A column of a curve is what is expected; say where first it is not."""
    bad = np.flatnonzero(~(np.abs(curve[name] - expected) <= tolerance))
    if len(bad):
        at = bad[0]
        actual, wanted = float(curve[name][at]), float(expected[at])
        yield Fault(path, f"step {at + 1} {name}", repr(actual), repr(wanted))
