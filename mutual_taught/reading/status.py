"""What happened so far, for the terminal: a table, or a block an iteration where it is narrow."""

import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from mutual_taught.artifacts.manifests import MANIFEST, read_manifest
from mutual_taught.config import params
from mutual_taught.planning.schedule import spell
from mutual_taught.reading import formats, run_state
from mutual_taught.reading.run_state import Running, State
from mutual_taught.report import alarms, markdown, summary
from mutual_taught.report.words import NOTE, ROWS
from mutual_taught.terminal.signs import fit, visible

SHOWN = (*markdown.STAGES, "judge")  # a stage that only some runs have, so no report depends on it


class IterationState(NamedTuple):
    """One iteration: `final` is the iteration whose policy it ends with."""

    key: str
    state: str
    final: int
    metrics: Mapping[str, Any]


class Setting(NamedTuple):
    """What the numbers of a run depend on most; None or a dash where nothing tells."""

    rule: str
    win_rate_threshold: float | None
    policy: str
    reward_model: str
    seed: int | None
    sampling_dtype: str
    training_dtype: str
    mixed_formats: tuple[str, ...]


def iterations(run: Path, state: State) -> list[IterationState]:
    """Read what each iteration did, without those that params.yaml does not have."""
    keys = [key for key in run_state.present(run) if key not in state.leftovers]
    history: list[dict[str, Any]] = [
        {"iteration": int(key), "metrics": markdown.read_metrics(run / key / "metrics", SHOWN)}
        for key in keys
    ]
    return [
        IterationState(
            key,
            _state(key, history[place]["metrics"]),
            summary.final_iteration(history[: place + 1]),
            history[place]["metrics"],
        )
        for place, key in enumerate(keys)
    ]


def _state(key: str, metrics: Mapping[str, Any]) -> str:
    """Say how far an iteration has come."""
    if key == "0":
        return "start"
    if "select_policy" not in metrics:
        last = [stage for stage in markdown.STAGES if stage in metrics]
        return f"after {last[-1]}" if last else "begun"
    return markdown.state(metrics, int(key)) + ("" if "eval" in metrics else ", unfinished")


def setting(run: Path) -> Setting:
    """Read the threshold, both models, the seed, and what number formats were used."""
    rule, threshold, seed, auto = "–", None, None, ("–", "–")
    named = ("–", "–")
    computed = formats.find(run)
    if path := run_state.beside(run):
        values = params.validate(params.read(path), path)
        rule, threshold = values.select_policy.rule, values.select_policy.win_rate_threshold
        seed, auto = values.seed, (values.engine.dtype, values.training.precision)
        named = (values.models.policy.path, values.models.reward_model.path)
    return Setting(
        rule,
        threshold if rule == "win_rate" else None,
        _base(run / "0" / "policy") or named[0],
        _base(run / "0" / "reward_model") or named[1],
        seed,
        " and ".join(sorted(computed[formats.SAMPLING])) or auto[0],
        " and ".join(sorted(computed[formats.TRAINING])) or auto[1],
        tuple(formats.mixed(computed)),
    )


def _base(folder: Path) -> str | None:
    if not (folder / MANIFEST).exists():
        return None
    return read_manifest(folder).base


def show(run: Path, width: int | None = None) -> State:
    """Print the state, the table, and what to do next; give the state."""
    state = run_state.look(run)
    console = Console(width=width, markup=False, emoji=False, highlight=False)

    def say(text: str) -> None:
        console.print(fit(visible(text), console.encoding), soft_wrap=True)

    listed, given = iterations(run, state), setting(run)
    say(f"Mutual-Taught in {run}: {_headline(state, listed)}")
    for line in _about(given):
        say(line)
    if listed:
        _print_numbers(console, listed)
        say(NOTE)
    for line in advice(run, state, listed, given.win_rate_threshold):
        say(line)
    return state


def _headline(state: State, listed: list[IterationState]) -> str:
    stopped = [one.key for one in listed if one.state.startswith("stopped here")]
    return (
        f"{state.kind} at t = {stopped[0]}" if stopped and state.kind == "stopped" else state.kind
    )


def _about(given: Setting) -> Iterator[str]:
    tau = given.win_rate_threshold
    rule = "the last checkpoint is taken" if tau is None else f"τ {tau:.3f}"
    seed = "–" if given.seed is None else given.seed
    computed = f"{given.sampling_dtype} sampling, {given.training_dtype} training"
    yield f"policy {given.policy}"
    yield f"reward model {given.reward_model}"
    yield f"{rule}, seed {seed}, {computed}"
    for line in given.mixed_formats:
        yield f"note: {line}"


def _print_numbers(console: Console, listed: list[IterationState]) -> None:
    """Print one column an iteration, or one block where the columns do not fit."""

    def fitted(text: str) -> str:
        return fit(visible(text), console.encoding)

    cells = [[fitted(text) for text in _cells(one)] for one in listed]
    labels = [fitted(name) for name in ("state", "policy of iteration", *ROWS)]
    table = Table("", *(f"t = {one.key}" for one in listed))
    for label, *row in zip(labels, *cells, strict=True):
        table.add_row(label, *row)
    if (
        Measurement.get(console, console.options.update(max_width=10_000), table).maximum
        <= console.width
    ):
        console.print(table)
        return
    for one, column in zip(listed, cells, strict=True):
        console.print(f"t = {one.key}")
        for label, text in zip(labels, column, strict=True):
            console.print(f"  {label:26}{text}")


def _cells(one: IterationState) -> list[str]:
    return [
        one.state,
        str(one.final),
        *(markdown.cell(row, one.metrics, one.final) for row in ROWS.values()),
    ]


def advice(
    run: Path, state: State, listed: list[IterationState], threshold: float | None
) -> Iterator[str]:
    """Say where the results are, why a run stopped, or what to do next."""
    known = "select_policy.win_rate_threshold" not in state.changed
    yield from _stopped(listed, threshold if known else None)
    yield from alarms.lines(_history(listed))
    reports = [run / one.key / "report" / "index.html" for one in listed]
    if there := [path for path in reports if path.exists()]:
        yield f"Report: {there[-1]}"
    if state.kind in ("finished", "stopped"):
        last = run / listed[-1].key
        yield f"Final models: {last / 'policy'}, {last / 'reward_model'}"
    if state.kind == "not run":
        yield "Nothing has run yet: make run, or dvc repro."
    elif state.kind == "not pulled":
        yield "Not pulled: dvc pull fetches what is missing, dvc repro --pull what it needs."
    elif state.kind == "unfinished" and state.missing:
        yield f"Not finished: dvc repro goes on, with {state.missing[0]}."
    for at in state.running:
        yield f"Running: {describe(at)}"
    if state.changed:
        names = ", ".join(state.changed[:3]) + ", ..." * (len(state.changed) > 3)
        yield f"params.yaml has changed since ({names}); mutual-taught plan says what would run."
    for key in state.leftovers:
        yield f"Leftover: {run / key}, which params.yaml does not have; {run_state.WAY_OUT}."


def _history(listed: list[IterationState]) -> list[dict[str, Any]]:
    return [{"iteration": int(one.key), "metrics": one.metrics} for one in listed]


def _stopped(listed: list[IterationState], threshold: float | None) -> Iterator[str]:
    """Say why a run stopped; `threshold` is the τ that it was made with, None if not known."""
    tau = "the share τ" if threshold is None else f"τ = {threshold:.3f}"
    for one in listed:
        if one.state.startswith("stopped here"):
            step = markdown.shown(markdown.number(one.metrics, "select_policy", "step"), 0)
            rate = markdown.shown(markdown.number(one.metrics, "select_policy", "win_rate"))
            best = f"(the best, step {step}: {rate})"
            yield f"Stopped at t = {one.key}: no checkpoint won {tau} of its duels {best}."
            yield f"Both models stay those of iteration {one.final}."


def describe(at: Running) -> str:
    """Say which stage runs, since when, and how long is left of the run."""
    place = f" (stage {at.place} of {at.stages})" if at.place else ""
    left = "" if at.left is None else f", about {spell(at.left)} left"
    return f"{at.stage}{place}, for {spell(at.seconds)}{left}"


def as_json(run: Path) -> str:
    """Give everything that `show` prints as JSON: numbers as numbers, None where there is none."""
    state = run_state.look(run)
    listed = iterations(run, state)
    ended = state.kind in ("finished", "stopped")
    payload = {
        "run": str(run),
        "state": state.kind,
        "next_stage": state.missing[0] if state.missing else None,
        "changed_params": list(state.changed),
        "running": [at._asdict() for at in state.running],
        "leftovers": list(state.leftovers),
        "alarms": alarms.lines(_history(listed)),
        **setting(run)._asdict(),
        "iterations": [
            {
                "iteration": int(one.key),
                "state": one.state,
                "policy_from": one.final,
                "evaluated": markdown.number(one.metrics, "eval", "active") == 1,
                "metrics": one.metrics,
            }
            for one in listed
        ],
        "policy_folder": str(run / listed[-1].key / "policy") if ended else None,
        "reward_model_folder": str(run / listed[-1].key / "reward_model") if ended else None,
    }
    return json.dumps(payload, indent=2)


def watch(run: Path, seconds: float) -> None:
    """Show the status again and again, until the run has ended."""
    console = Console()
    while True:
        console.clear()
        if show(run).kind in ("finished", "stopped"):
            return
        time.sleep(seconds)
