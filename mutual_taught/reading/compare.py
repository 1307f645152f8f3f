"""Comparison of runs: what differs in their parameters, and paired differences of gold."""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from mutual_taught.errors import InputError
from mutual_taught.method.statistics import Interval, bootstrap
from mutual_taught.reading.runs import ComparedRun
from mutual_taught.terminal import near

SEED = 1  # of the intervals' resampling, the same for all rows
STUDENT = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228),
    *(2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086),
    *(2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042),
)
Numbers = Mapping[str, float]


class Spread(NamedTuple):
    """A number over seeds: mean, standard deviation (n - 1; None for one seed), how many."""

    mean: float
    sd: float | None
    n: int


class ComparisonRow(NamedTuple):
    """A row of the comparison.

    `runs` has one run, or one for each seed; `numbers` the summary over them; `change` the paired
    difference of gold to the baseline, over the prompts that both have, None if there is none.
    """

    name: str
    runs: tuple[ComparedRun, ...]
    numbers: Mapping[str, Spread]
    change: Interval | None
    notes: tuple[str, ...]


def single(runs: Sequence[ComparedRun], against: str) -> list[ComparisonRow]:
    """Compare every run with the baseline, over the prompts of both.

    Args:
        runs: what to compare.
        against: name of the baseline.

    Raises:
        InputError: no run has the name.
    """
    base = _named(against, {run.name: (run,) for run in runs})
    return [_row(run.name, (run,), base) for run in runs]


def pooled(runs: Sequence[ComparedRun], against: str) -> list[ComparisonRow]:
    """Compare runs over seeds: those that differ only in `seed` are one row.

    A row is compared with the baseline seed by seed, over the prompts that both runs of a seed
    have; a prompt that several seeds have is resampled with all its differences.

    Args:
        runs: what to compare. Of two with the same values the first that has results counts.
        against: name of a run of the baseline's row, or of the row.

    Raises:
        InputError: no run and no row has the name.
    """
    groups: list[list[ComparedRun]] = []
    for run in sorted(runs, key=lambda run: run.summary is None):
        for group in groups:
            if run.values is not None and _but_seed(group[0]) == _but_seed(run):
                group.append(run)
                break
        else:
            groups.append([run])
    order = {run.name: place for place, run in enumerate(runs)}
    rows = [tuple(sorted(group, key=lambda run: order[run.name])) for group in groups]
    rows.sort(key=lambda group: order[group[0].name])
    by_name = {run.name: group for group in rows for run in group}
    base = _named(against, by_name | {_title(group): group for group in rows})
    return [_row(_title(group), group, base) for group in rows]


def _named(name: str, known: Mapping[str, tuple[ComparedRun, ...]]) -> tuple[ComparedRun, ...]:
    if name not in known:
        raise InputError(f"no row is called {name!r}; {near.advice(name, known)}")
    return known[name]


def _but_seed(run: ComparedRun) -> dict[str, Any] | None:
    return None if run.values is None else {**run.values, "seed": None}


def _title(group: tuple[ComparedRun, ...]) -> str:
    """Name a row by its experiments, without the seed's ending."""
    name = next((run.name for run in group if _stem(run.name) != run.name), group[0].name)
    return _stem(name) if len(group) > 1 else group[0].name


def _stem(name: str) -> str:
    head, ending, seed = name.rpartition("-s")
    return head if ending and seed.isdecimal() else name


def _row(name: str, group: tuple[ComparedRun, ...], base: tuple[ComparedRun, ...]) -> ComparisonRow:
    runs = by_seed(group)
    names = dict.fromkeys(key for run in runs.values() for key in run.summary or {})
    numbers = {
        key: spread(
            [run.summary[key] for run in runs.values() if run.summary and key in run.summary]
        )
        for key in names
    }
    notes = [note for run in group for note in run.notes]
    left_out = [run.name for run in group if run not in runs.values()]
    notes += [
        f"{name}: has the seed of another run of its row, and is left out" for name in left_out
    ]
    if group == base:
        return ComparisonRow(name, group, numbers, None, tuple(notes))
    change, remarks = paired(runs, by_seed(base), single=len(group) == len(base) == 1)
    return ComparisonRow(
        name, group, numbers, change, (*notes, *(f"{name}: {note}" for note in remarks))
    )


def by_seed(group: tuple[ComparedRun, ...]) -> dict[object, ComparedRun]:
    """Index runs by their seed; of two with one seed, the first that has results."""
    found: dict[object, ComparedRun] = {}
    for run in sorted(group, key=lambda run: run.summary is None):
        found.setdefault(run.values.get("seed") if run.values else run.name, run)
    return found


def spread(values: Sequence[float]) -> Spread:
    """Give mean and standard deviation of numbers that may be one."""
    sd = statistics.stdev(values) if len(values) > 1 else None
    return Spread(statistics.fmean(values), sd, len(values))


def over_seeds(values: Sequence[float]) -> Interval:
    """Give the mean of a number over seeds and its 95 % interval after Student.

    With few values a bootstrap is too narrow. `n` counts the values.

    Args:
        values: one a seed, at least two.

    Source: Student, 1908; quantiles at 0.975 of 1 to 30 degrees of freedom, then the normal one.
    """
    mean, error = statistics.fmean(values), statistics.stdev(values) / len(values) ** 0.5
    freedom = len(values) - 1
    reach = error * (STUDENT[freedom - 1] if freedom <= len(STUDENT) else 1.96)
    return Interval(mean, mean - reach, mean + reach, len(values))


def paired(
    own: Mapping[object, ComparedRun], base: Mapping[object, ComparedRun], single: bool
) -> tuple[Interval | None, list[str]]:
    """Give the mean difference of gold on the same prompts, its 95 % interval, and what to know.

    Args:
        own: a row's runs by seed.
        base: the baseline's runs by seed.
        single: both are one run, and are compared whatever their seeds.

    Returns:
        None without a prompt that both have; the interval resamples prompts.
    """
    seeds = [(seed, seed) for seed in own if seed in base]
    if single:
        seeds = [(next(iter(own)), next(iter(base)))]
    notes = []
    if unmatched := [seed for seed in own if seed not in dict(seeds)]:
        notes.append(f"the baseline has no run with seed {', '.join(map(str, unmatched))}")
    prompts: list[str] = []
    changes: list[float] = []
    for own_seed, base_seed in seeds:
        own_gold, base_gold = gold(own[own_seed]), gold(base[base_seed])
        both = [prompt for prompt in own_gold if prompt in base_gold]
        if len(both) < max(len(own_gold), len(base_gold)) and own_gold and base_gold:
            notes.append(
                f"{len(both)} of its {len(own_gold)} prompts are among the baseline's "
                f"{len(base_gold)}"
            )
        prompts += both
        changes += [own_gold[prompt] - base_gold[prompt] for prompt in both]
    if not changes:
        return None, notes
    groups = np.unique(np.array(prompts), return_inverse=True)[1].astype(np.int64)
    return bootstrap(np.array(changes), SEED, groups), notes


def gold(run: ComparedRun) -> dict[str, float]:
    """Give the mean gold of every prompt that has one; empty without a run's responses."""
    if run.generations is None:
        return {}
    known = run.generations.filter(run.generations["gold"].is_valid())
    means = known.select(["prompt_id", "gold"]).group_by("prompt_id").aggregate([("gold", "mean")])
    return dict(zip(means["prompt_id"].to_pylist(), means["gold_mean"].to_pylist(), strict=True))


def changed(rows: Sequence[ComparisonRow], seeds: bool) -> dict[str, list[object]]:
    """List the parameters that differ between rows: key to the value of each row, None if unknown.

    Args:
        rows: the comparison's.
        seeds: rows pool seeds, so that `seed` is no difference.
    """
    flat = [dict(leaves(row.runs[0].values or {})) for row in rows]
    keys = dict.fromkeys(key for values in flat for key in values)
    found = {}
    for key in keys:
        column = [values.get(key) if values else None for values in flat]
        known = [repr(values.get(key)) for values in flat if values]
        if len(set(known)) > 1 and not (seeds and key == "seed"):
            found[key] = column
    return found


def leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, object]]:
    """List all values by their dotted key; an empty block is `{}`."""
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
