"""Figures of a block: gold by iteration, and labels against what r_t gains."""

import io
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from study import outcomes
from study.outcomes import Numbers
from study.statistics import estimate

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Key = tuple[str, str]
Studied = Mapping[Key, Sequence[Numbers]]


def gold(studied: Studied) -> bytes | None:
    """Draw gold by iteration: a line an arm and format, the seeds as points."""
    figure = _figure()
    axes = figure.subplots()
    for (arm, number_format), own in studied.items():
        lines = [[_gold(one, t) for t in range(one.last + 1)] for one in own]
        longest = max(map(len, lines))
        whole = [line for line in lines if len(line) == longest]
        label = f"{arm}, {number_format}"
        drawn = axes.plot(range(longest), np.mean(whole, axis=0), marker="o", label=label)
        for line in whole:
            axes.plot(range(longest), line, ".", color=drawn[0].get_color(), alpha=0.4)
    axes.set_xlabel("iteration")
    axes.set_ylabel("gold")
    axes.legend(fontsize=6)
    return _png(figure)


def _gold(numbers: Numbers, t: int) -> float:
    return estimate([outcomes.alone(numbers.prompts(t, "gold"))]).mean


def labels(studied: Studied) -> bytes | None:
    """Draw every M-step: label right minus r right, against r_t's gain on the same iteration."""
    figure = _figure()
    axes = figure.subplots()
    for (arm, number_format), own in studied.items():
        points = [
            point for one in own for t in range(1, one.last + 1) for point in outcomes.step(one, t)
        ]
        if points:
            axes.plot(*zip(*points, strict=True), "o", label=f"{arm}, {number_format}")
    if not axes.has_data():
        return None
    axes.axhline(0, color="grey", linewidth=0.5)
    axes.axvline(0, color="grey", linewidth=0.5)
    axes.set_xlabel("label right minus r right, on D_M")
    axes.set_ylabel("r_t minus r_0 right, own samples")
    axes.legend(fontsize=6)
    return _png(figure)


def runs(studied: Studied) -> bytes | None:
    """Draw every run by itself: gold and mean length by iteration, a colour a format."""
    figure = _figure()
    axes = figure.subplots(1, 2)
    for place, ((_, number_format), own) in enumerate(studied.items()):
        look = {"color": f"C{place}", "marker": "o", "alpha": 0.6, "linewidth": 1}
        for one in own:
            steps = range(one.last + 1)
            name = number_format if one is own[0] else None
            axes[0].plot(steps, [_gold(one, t) for t in steps], label=name, **look)
            axes[1].plot(steps, [one.average(t, "length") for t in steps], **look)
    for place, what in enumerate(("gold", "length of answers, tokens")):
        axes[place].set_xlabel("iteration")
        axes[place].set_ylabel(what)
        axes[place].set_xticks(steps)
    axes[0].legend(fontsize=8)
    return _png(figure)


def _figure() -> "Figure":
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib.figure import Figure

    return Figure(figsize=(7, 4), layout="constrained")


def _png(figure: "Figure") -> bytes:
    page = io.BytesIO()
    figure.savefig(page, format="png", dpi=110, metadata={"Software": None})
    return page.getvalue()


Drawn = tuple[str, str, Callable[[Studied], bytes | None]]  # name, title, how
GOLD: Drawn = ("gold", "Gold by iteration", gold)
LABELS: Drawn = ("labels", "Labels and what r_t gains", labels)
RUNS: Drawn = ("runs", "Gold and length of every run", runs)
