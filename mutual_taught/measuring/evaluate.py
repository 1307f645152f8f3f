"""`mutual-taught evaluate`: what is refused before torch is imported, then one benchmark a time."""

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from mutual_taught.errors import InputError
from mutual_taught.evaluation import benchmarks
from mutual_taught.measuring import checkpoints, data
from mutual_taught.measuring.checkpoints import Checkpoint
from mutual_taught.measuring.settings import Terms
from mutual_taught.pipeline import work

if TYPE_CHECKING:
    from mutual_taught.evaluation.benchmarks.base import Items, Metrics, Prompts
    from mutual_taught.measuring.benchmark import Measured

DEFAULT_OUT = Path("evaluations")
OTHER = "compared"  # folder of the model that is compared with, beside a benchmark's own files


class Source(NamedTuple):
    """Where a benchmark's items come from, and the verdicts of its judge if there are any."""

    data: Path | None = None
    revision: str | None = None
    judgements: tuple[Path, ...] = ()


class Task(NamedTuple):
    """A benchmark with the folder of its results, and its items, or of a policy's the prompts."""

    name: str
    out: Path
    items: "Items" = ()
    prompts: "Prompts" = ()


Measure = Callable[[Task, Path, Path], "Measured"]


class EvaluationPlan(NamedTuple):
    """What is to be done; nothing of it is refused any more by names, kinds or formats."""

    model: Checkpoint
    other: Checkpoint | None
    tasks: Sequence[Task]
    source: Source


class Result(NamedTuple):
    """What came out of one benchmark: of the model, and of the one it is compared with."""

    name: str
    metrics: "Metrics"
    other: "Metrics | None"
    out: Path


def plan(
    model: Path, names: Sequence[str], source: Source, out: Path | None, compare: Path | None
) -> EvaluationPlan:
    """Look at models, benchmarks, files and the place of the results, without torch.

    Raises:
        InputError: a name is unknown or twice, a model is of the wrong kind, a file is not in its
            format, or there are results already.
        MissingFileError: a model or a file is not there, or cannot be fetched.
    """
    if twice := [name for place, name in enumerate(names) if name in names[:place]]:
        raise InputError(f"--on names {twice[0]!r} twice; expected every benchmark once")
    entries = [benchmarks.entry(name) for name in names]
    if source.data is not None and len(names) > 1:
        raise InputError(
            f"--data names one place for {len(names)} benchmarks; expected one benchmark with it"
        )
    if source.data is not None and source.revision is not None:
        raise InputError(
            "--revision is of the hub's files, --data names others; expected one of both; leave "
            "one out"
        )
    if source.judgements and compare is not None:
        raise InputError(
            "--compare with --judgements; expected the verdicts on one model; leave one out"
        )
    found = [checkpoints.find(folder) for folder in (model, compare) if folder is not None]
    for checkpoint in found:
        for name, entry in zip(names, entries, strict=True):
            checkpoints.require(checkpoint, entry.kind, f"benchmark {name!r}")
    home = out or DEFAULT_OUT / found[0].called
    for name in names:
        require_free(home / name)
    _require_judged(names, source)
    tasks = [_task(name, source, home / name) for name in names]
    return EvaluationPlan(found[0], found[1] if compare else None, tasks, source)


def require_free(out: Path) -> None:
    """Refuse a place where something is.

    Raises:
        InputError: it exists, and is no empty folder; or a file stands where its folder is due.
    """
    require_folder(out)
    free = not out.exists() or (out.is_dir() and not any(out.iterdir()))
    if out.is_symlink() or not free:
        raise InputError(
            f"{out} exists; expected a new place; remove it, name another --out, or leave out what "
            "is there"
        )


def require_folder(out: Path) -> None:
    """Refuse a place in which nothing can be made, before hours of work are to be written there.

    Raises:
        InputError: the nearest of its folders that is there is a file, or may not be written to.
    """
    there = next(folder for folder in out.absolute().parents if folder.exists())
    if not there.is_dir():
        raise InputError(f"{out}: {there} is a file; expected a folder; name another --out")
    if not os.access(there, os.W_OK):
        raise InputError(
            f"{out}: {there} may not be written to; expected a folder of yours; name another --out"
        )


def _require_judged(names: Sequence[str], source: Source) -> None:
    """Refuse verdicts for benchmarks that no judge decides, or for several at once."""
    if not source.judgements:
        return
    entry = benchmarks.entry(names[0])
    judged = entry.kind == "policy" and benchmarks.of_policies(names[0]).JUDGED
    if len(names) > 1 or not judged:
        raise InputError(
            f"--judgements with {', '.join(names)}; expected one benchmark whose answers a judge "
            "compares; leave it out"
        )


def _task(name: str, source: Source, out: Path) -> Task:
    """Read a benchmark's files."""
    paths = data.files(name, source.data, source.revision)
    if benchmarks.entry(name).kind == "reward_model":
        return Task(name, out, items=benchmarks.of_reward_models(name).read(paths))
    return Task(name, out, prompts=benchmarks.of_policies(name).read(paths))


def run(planned: EvaluationPlan, terms: Terms) -> Iterator[Result]:
    """Measure benchmark after benchmark; each is given when its results are written.

    Results appear whole or not at all; an interrupted run goes on with its finished shards, which
    go when the results are there.
    """
    if planned.source.judgements:
        yield from _judged(planned)
        return
    from mutual_taught.measuring import limits, ready

    models = [planned.model, *([planned.other] if planned.other else [])]
    folders = [ready.ready(model, terms.drawing.tokens) for model in models]
    for folder in folders:  # the shortest of both, so that both read the same
        terms = limits.within(folder, terms)
    with _measuring(planned.model.kind, terms) as measure:
        for task in planned.tasks:
            yield _compared(task, folders, measure)
            work.finish()


def _judged(planned: EvaluationPlan) -> Iterator[Result]:
    """Measure verdicts on responses that were exported before."""
    from mutual_taught.measuring import benchmark

    for task in planned.tasks:
        with whole(task.out) as out:
            found = benchmark.judged(task.name, task.prompts, planned.source.judgements, out)
        yield Result(task.name, found.metrics, None, task.out)


def _compared(task: Task, folders: Sequence[Path], measure: Measure) -> Result:
    """Measure the models on the same items, and the difference if there are two."""
    from mutual_taught.measuring import benchmark

    with whole(task.out) as out:
        places = (out, out / OTHER)
        own, *others = (
            measure(task, *pair) for pair in zip(folders, places[: len(folders)], strict=True)
        )
        metrics = dict(own.metrics)
        if others and own.records is not None and others[0].records is not None:
            metrics |= benchmark.difference(own.records, others[0].records)
            benchmark.write(out, metrics)
    return Result(task.name, metrics, others[0].metrics if others else None, task.out)


@contextlib.contextmanager
def _measuring(kind: benchmarks.Kind, terms: Terms) -> Iterator[Measure]:
    """Lend what measures a model of a kind on a benchmark; a model stays loaded between two."""
    from mutual_taught.measuring import benchmark

    def place(task: Task, out: Path) -> benchmark.Place:
        return benchmark.Place(out, f"evaluate-{task.name}")

    if kind == "reward_model":
        with benchmark.scoring(terms) as scorer:
            yield lambda task, folder, out: benchmark.reward_model(
                task.name, task.items, folder, scorer, terms, place(task, out)
            )
        return
    with benchmark.drawing(terms) as sampler:
        yield lambda task, folder, out: benchmark.policy(
            task.name, task.prompts, folder, sampler, terms, place(task, out)
        )


@contextlib.contextmanager
def whole(out: Path) -> Iterator[Path]:
    """Lend a folder beside a place, which takes its name when all is in it."""
    made = out.with_name(f".{out.name}.part")
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir(parents=True)
    try:
        yield made
        if out.is_dir():
            out.rmdir()
        made.rename(out)
    finally:
        shutil.rmtree(made, ignore_errors=True)
