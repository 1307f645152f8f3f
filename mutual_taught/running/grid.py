"""The grid of ablations and baselines, as experiments of DVC that wait in its queue."""

import contextlib
import copy
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mutual_taught.config import overrides, params, presets
from mutual_taught.errors import InputError
from mutual_taught.planning import graph, rates
from mutual_taught.running import experiments
from mutual_taught.terminal import near

PLAIN = "plain"
Values = Mapping[str, Any]


class Trial(NamedTuple):
    """One experiment: its name, and what makes its params.yaml of the one that is here."""

    name: str
    overrides: tuple[str, ...]


def names() -> list[str]:
    """List the rows of the grid: the plain method, then every ablation."""
    return [PLAIN, *presets.names()]


def trials(seeds: int, only: Sequence[str], preset: str | None) -> list[Trial]:
    """List the experiments of a grid: each row with the seeds 1, 2, and so on, row by row.

    The experiments of a row differ only in `seed`. A row whose change is in params.yaml already
    would be the plain one again and is left out, unless it is asked for by name.

    Args:
        seeds: how many seeds each row has.
        only: rows that are wanted; none: all of them.
        preset: what the rows change; None: params.yaml as it is.

    Raises:
        InputError: there is no such row, or its params.yaml would be refused.
    """
    for name in only:
        if name not in names():
            raise InputError(f"grid has no row {name!r}; {near.advice(name, names())}")
    here = params.read(params.PARAMS)
    start = here if preset is None else params.read(presets.FOLDER / f"{preset}.yaml")
    found: list[Trial] = []
    for name in only or names():
        values = _changed(start, name)
        if name != PLAIN and values == start and not only:
            continue
        label = name if preset is None else f"{preset}-{name}"
        found += _of_row(here, values, label, seeds)
    return found


def _changed(start: Values, name: str) -> dict[str, Any]:
    values = copy.deepcopy(dict(start))
    if name != PLAIN:
        change = params.read(presets.place(name))
        presets.merge(values, copy.deepcopy(change))
    return values


def _of_row(here: Values, values: Values, label: str, seeds: int) -> Iterator[Trial]:
    for seed in range(1, seeds + 1):
        wanted = {**values, "seed": seed}
        changes = overrides.between(here, wanted)
        if seed == 1:  # the others differ in a whole number from 1 only, which is always right
            try:
                made = overrides.checked(changes)
            except InputError as error:
                raise InputError(f"{label}: {error}; leave it out with --only") from None
            assert made == wanted, label
        yield Trial(f"{label}-s{seed}", tuple(changes))


def queue(wanted: Sequence[Trial]) -> Iterator[Trial]:
    """Put experiments into DVC's queue, one by one, in this process: a second each, not four.

    Raises:
        InputError: DVC refuses one; those before it are in the queue.
    """
    with experiments.repository() as repo:
        for trial in wanted:
            with contextlib.redirect_stdout(io.StringIO()):
                repo.experiments.run(queue=True, name=trial.name, params=list(trial.overrides))
            yield trial


def seconds(run: Path = rates.RUN) -> float | None:
    """Estimate how long one run of the pipeline takes here; None if no run has measured it."""
    known = rates.history(run)
    near_ones = [rates.nearest(stage, known) for stage in graph.order()]
    if any(old is None for old in near_ones):
        return None
    return sum(rates.whole(old) for old in near_ones if old is not None)
