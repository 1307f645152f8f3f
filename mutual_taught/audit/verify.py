"""Recompute every decision of a finished run from its artifacts, and check every digest."""

from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import pyarrow as pa

from mutual_taught.artifacts import files, tables
from mutual_taught.audit import (
    e_step,
    evaluation,
    faults,
    integrity,
    judged,
    m_step,
    provenance,
    start,
    stopped,
    training,
)
from mutual_taught.audit.faults import Fault, Faults
from mutual_taught.audit.run import EVAL, CheckedIteration, Run
from mutual_taught.config import params
from mutual_taught.errors import MutualTaughtError
from mutual_taught.reading import formats, run_state
from mutual_taught.report import alarms, markdown, summary

T = TypeVar("T")


def verify(folder: Path, models: bool = True) -> Iterator[Fault]:
    """Find what does not follow from the rest.

    Args:
        folder: of the run; params.yaml must be that of the run.
        models: hash the models' files, too.

    Returns:
        Faults as they are found; none if the run is as the method says.
    """
    settings = params.validate(params.read(params.PARAMS))
    there = {path.name for path in files.iterations(folder)}
    wanted = ["0", *settings.iterations]
    yield from _iterations(folder, there, wanted)
    run = Run(folder, [key for key in wanted if key in there])
    run.ahead(start.listed(run))
    for key in run.keys[:2]:  # read and hashed beside the prompts, which take a while
        run.ahead(run.listed(key))
    yield from guarded(folder / "0", start.prompts(run, settings))
    run.forget([folder / "0" / "prompts.parquet"])
    for key in run.keys:
        run.ahead(run.listed(key))
        of = CheckedIteration(run, key, settings)
        for check in _checks(of):
            yield from guarded(of.here, check)
        if models:
            yield from guarded(of.here, integrity.models(of.here))
        carried = (tables.ANSWERS, tables.REWARD_PAIRS, *EVAL)
        run.forget(path for path, table in run.listed(key) if table not in carried)
        run.forget(path for path, _ in run.listed(of.previous) if of.previous != "0")


def _iterations(folder: Path, there: set[str], wanted: list[str]) -> Faults:
    """The iterations are those of params.yaml."""
    for name in sorted(there ^ set(wanted)):
        state = "there" if name in there else "missing"
        if name in there and folder == run_state.RUN:
            state += f" ({run_state.WAY_OUT})"
        yield Fault(folder / name, "the iteration", state, f"{', '.join(wanted)} (params.yaml)")


def _checks(of: CheckedIteration) -> list[Faults]:
    """List what is checked of an iteration."""
    checks = [
        stopped.empty(of),
        evaluation.check(of),
        judged.check(of),
        m_step.answers(of),
        provenance.made_from(of),
    ]
    if of.t:
        checks += [
            e_step.responses(of),
            e_step.rewards(of),
            e_step.ranked(of),
            training.policy(of),
            e_step.duels(of),
            e_step.selected(of),
            m_step.pairs(of),
            training.reward_model(of),
            stopped.carried_on(of),
            _summary(of),
        ]
    else:
        checks += [start.base(of), start.gold_pairs(of), start.reward_model(of)]
    checks += [integrity.altered(of.run, path, table) for path, table in of.run.listed(of.key)]
    return checks


def notes(folder: Path) -> Iterator[str]:
    """Say what is no fault, but what whoever trusts the run should know.

    It was computed in two number formats; or a source of its prompts or gold pairs is not here, so
    that what the run has of it was not compared.
    """
    yield from formats.mixed(formats.find(folder))
    yield from start.absent(folder, params.validate(params.read(params.PARAMS)))


def guarded(folder: Path, check: Iterator[T]) -> Iterator[T | Fault]:
    """Turn what a reader refuses into a fault, so that the other checks still run."""
    try:
        yield from check
    except MutualTaughtError as error:
        reason = " ".join(str(error).split())
        yield Fault(folder, "an artifact", f"refused ({reason})", "one that can be read")
    except (
        ValueError,
        TypeError,
        LookupError,
        AttributeError,
        ArithmeticError,
        OSError,
        pa.ArrowException,
    ) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        yield Fault(folder, "an artifact", f"at odds with the others ({reason})", "a whole run")


def _summary(of: CheckedIteration) -> Faults:
    """The summary and the alarms are those of the metrics of all iterations so far."""
    keys = of.run.keys[: of.run.keys.index(of.key) + 1]
    history = [
        {"iteration": int(t), "metrics": markdown.read_metrics(of.run.folder / t / "metrics")}
        for t in keys
    ]
    for name, numbers in (("summary", summary.numbers), ("alarms", alarms.numbers)):
        expected = {k: v for k, v in numbers(history).items() if v is not None}
        path = of.metrics(name)
        yield from faults.numbers(path, files.read_json(path), expected)
