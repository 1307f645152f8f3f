"""Win rates of all candidates with tau: why an iteration went on, or stopped."""

import altair as alt
import numpy as np

from mutual_taught.method.selection import TIE, by_prompt
from mutual_taught.method.statistics import bootstrap
from mutual_taught.report.page import Picture
from mutual_taught.report.pictures.rows import Row, Rows, Seen, iterations, number, place, plain
from mutual_taught.report.pictures.theme import INK, by_iteration, colours, drawn

NAME = "candidates"
TITLE = "Did a candidate beat the policy before it?"


def rows(seen: Seen) -> Rows:
    """Give each candidate's win rate on D_MS with its 95 % interval over prompts.

    A tie counts as the selection counted it, and prompts that it left out are left out.
    """
    duels = seen.past.duels
    if duels is None or not len(duels):
        return []
    judged = duels.filter(duels["outcome"].is_valid())
    chosen = seen.past.metrics.get("select_policy", {})
    steps, prompts = judged["step"].to_numpy(), place(judged["prompt_id"])
    results = number(judged["outcome"])
    counted = np.where(results == TIE, chosen.get("tie_counts_as", TIE), results)
    found: Rows = []
    for step in np.unique(steps):
        own = steps == step
        interval = bootstrap(by_prompt(counted[own], prompts[own]), seen.seed)
        found.append(
            {
                "t": seen.iteration,
                "step": int(step),
                "win_rate": plain(interval.mean),
                "low": plain(interval.ci_lo),
                "high": plain(interval.ci_hi),
                "taken": bool(chosen.get("active")) and chosen.get("step") == int(step),
                "threshold": seen.threshold,
                "n": interval.n,
            }
        )
    return found


def draw(found: Rows) -> Picture | None:
    """Draw win rates by iteration and step; a filled point is the candidate that was taken."""
    if not found:
        return None
    known = iterations(found)
    colour = by_iteration(known, legend=False)
    base = alt.Chart().encode(x=alt.X("step:O", title="training step", axis=alt.Axis(labelAngle=0)))
    share = alt.Y("win_rate:Q", title="win rate on D_MS", scale=alt.Scale(domain=[0, 1]))
    whisker = base.mark_rule(strokeWidth=2).encode(
        y=alt.Y("low:Q", title="win rate on D_MS", scale=alt.Scale(domain=[0, 1])),
        y2="high:Q",
        color=colour,
    )
    points = base.mark_point(size=90, strokeWidth=2, opacity=1).encode(
        y=share,
        color=colour,
        fillOpacity=alt.condition("datum.taken", alt.value(1), alt.value(0)),
        fill=alt.Fill("t:O", scale=colours(known), legend=None),
        description="says:N",
    )
    layers = [whisker, points]
    if found[0]["threshold"] is not None:
        layers.insert(0, _threshold())
    width = max(110, 36 * max(_candidates(found, t) for t in known))
    chart = (
        alt.layer(*layers, data=alt.Data(values=[_said(row) for row in found]))
        .properties(width=width, height=220)
        .facet(column=alt.Column("t:O", title=None, header=_header()))
        .resolve_scale(x="independent")
    )
    return drawn(chart, NAME, TITLE, _says(found))


def _threshold() -> alt.Chart:
    return (
        alt.Chart()
        .mark_rule(strokeDash=[6, 4], strokeWidth=1.5, color=INK, aria=False)
        .encode(y=alt.Y("mean(threshold):Q"))
    )


def _header() -> alt.Header:
    return alt.Header(labelExpr="'t = ' + datum.value", labelPadding=6)


def _candidates(found: Rows, iteration: int) -> int:
    return sum(row["t"] == iteration for row in found)


def _said(row: Row) -> Row:
    """Add what a pointer over the mark shows."""
    text = (
        f"t = {row['t']}, step {row['step']}: {row['win_rate']:.3f} "
        f"[{row['low']:.3f}, {row['high']:.3f}], n = {row['n']}"
    )
    return {**row, "says": text + (", taken" if row["taken"] else "")}


def _says(found: Rows) -> str:
    rule = found[0]["threshold"]
    tau = "" if rule is None else f" The dashed line is τ = {rule:g}, which the best must reach."
    return (
        "A point is the share of selection prompts on which a candidate's answer is judged better "
        "than that of the policy before, with the 95 % interval over prompts. A filled point is "
        "the candidate that became the next policy; without one the run stopped there." + tau
    )
