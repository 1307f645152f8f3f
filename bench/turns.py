"""What the benchmarks share: variants take turns, medians are compared, ratios are shown.

A machine's speed changes within minutes. Variants that take turns see the same machine, so that a
ratio of their medians says more than either number.
"""

import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import click

from mutual_taught.artifacts.files import write_json

Result = TypeVar("Result")


class Turn(NamedTuple):
    """What a variant gave in one turn, and how many seconds it took."""

    result: Any
    seconds: float


def timed(work: Callable[[], Result]) -> tuple[Result, float]:
    """Do something; give its result, and how many seconds it took."""
    begin = time.perf_counter()
    result = work()
    return result, time.perf_counter() - begin


def in_turn(
    runs: Mapping[str, Callable[[], object]], repeats: int, unmeasured: int = 0
) -> dict[str, list[Turn]]:
    """Let variants take turns: one of each, then one of each again.

    Each turn is told when it ends, because the whole takes minutes.

    Args:
        runs: what each variant does in a turn.
        repeats: turns of each that count.
        unmeasured: turns of each before these: first uses allocate and compile.
    """
    found: dict[str, list[Turn]] = {name: [] for name in runs}
    for _ in range(unmeasured + repeats):
        for name, run in runs.items():
            found[name].append(Turn(*timed(run)))
            click.echo(f"{name}: {found[name][-1].seconds:.2f} s", err=True)
    return {name: turns[unmeasured:] for name, turns in found.items()}


def median_seconds(turns: Mapping[str, list[Turn]]) -> dict[str, float]:
    """Give each variant's median time."""
    return {name: statistics.median(turn.seconds for turn in own) for name, own in turns.items()}


def show(ratios: Mapping[str, float], out: Path | None, **measured: object) -> None:
    """Print the ratios; write them to `out`, beside what they were made from."""
    for name, value in ratios.items():
        click.echo(f"{name:30} {value:.2f}")
    if out:
        write_json(out, {"ratios": dict(ratios), **measured})
