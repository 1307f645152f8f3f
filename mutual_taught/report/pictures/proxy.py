"""Gold beside r_0's reward: whether what is optimised still measures what is wanted."""

import altair as alt
import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from mutual_taught.method.statistics import bootstrap
from mutual_taught.report.page import Picture
from mutual_taught.report.pictures.rows import (
    Floats,
    Row,
    Rows,
    Seen,
    iterations,
    number,
    place,
    plain,
)
from mutual_taught.report.pictures.shapes import by_rank
from mutual_taught.report.pictures.theme import FIRST, SECOND, by_iteration, drawn, shaped

NAME = "proxy"
TITLE = "Does gold rise with the reward, or is the reward gamed?"
GROUPS = 10
GOLD, REWARD = FIRST, SECOND
SAYS = (
    "Left, mean gold of the eval answers (solid, left axis) and their mean reward under r_0 "
    "(dashed, right axis), with 95 % intervals over prompts. Both rise where the policy improves. "
    "A reward that rises while gold stays or falls is gamed. Right, mean gold of each tenth of the "
    "answers, by their reward under r_0: a line that rises says that r_0 still knows better from "
    "worse among this policy's answers, a flat or falling one that it does not."
)


def rows(seen: Seen) -> Rows:
    """Give means of gold and reward, and gold by tenth of the reward, of responses that have both.

    Fewer than 20 such responses have no tenths.
    """
    responses = seen.responses
    if responses is None:
        return []
    both = responses.filter(
        pc.and_(responses["gold"].is_valid(), responses["reward_r0"].is_valid())
    )
    if not len(both):
        return []
    gold, reward = number(both["gold"]), number(both["reward_r0"])
    means = _means(gold, reward, place(both["prompt_id"]), seen.seed)
    return [{"t": seen.iteration, **row} for row in [*means, *_tenths(gold, reward)]]


def _means(gold: Floats, reward: Floats, prompts: NDArray[np.int64], seed: int) -> Rows:
    found: Rows = []
    for kind, values in (("gold", gold), ("reward", reward)):
        interval = bootstrap(values, seed, prompts)
        found.append(
            {
                "kind": kind,
                "mean": plain(interval.mean),
                "low": plain(interval.ci_lo),
                "high": plain(interval.ci_hi),
            }
        )
    return found


def _tenths(gold: Floats, reward: Floats) -> Rows:
    if len(gold) < 2 * GROUPS:
        return []
    groups = by_rank(reward, gold, GROUPS)
    return [
        {"kind": "tenth", "tenth": place + 1, "mean": plain(mean)}
        for place, mean in enumerate(groups.y)
    ]


def draw(found: Rows) -> Picture | None:
    """Draw both means by iteration, and gold by tenth of the reward."""
    if not found:
        return None
    tenths = [row for row in found if row["kind"] == "tenth"]
    panels = [_means_panel(found), *([_tenths_panel(tenths)] if tenths else [])]
    chart = alt.hconcat(*panels, spacing=30).resolve_scale(color="independent", shape="independent")
    return drawn(chart, NAME, TITLE, SAYS)


def _means_panel(found: Rows) -> alt.LayerChart:
    gold = _mean_line([row for row in found if row["kind"] == "gold"], "mean gold, 0 to 1", GOLD)
    reward = _mean_line(
        [row for row in found if row["kind"] == "reward"],
        "mean reward under r_0, logits",
        REWARD,
        dash=[6, 3],
    )
    return alt.layer(gold, reward).resolve_scale(y="independent").properties(width=230, height=210)


def _mean_line(
    found: Rows, title: str, colour: str, dash: list[int] | None = None
) -> alt.LayerChart:
    axis = alt.Axis(titleColor=colour, labelColor=colour, tickCount=5)
    data = alt.Data(values=[_said(row) for row in found])
    base = alt.Chart(data).encode(x=alt.X("t:O", title="iteration t", axis=alt.Axis(labelAngle=0)))
    y = alt.Y("mean:Q", title=title, axis=axis, scale=alt.Scale(zero=False))
    low = alt.Y("low:Q", title=title, axis=axis, scale=alt.Scale(zero=False))
    line = base.mark_line(color=colour, strokeWidth=2, strokeDash=dash or [1, 0], aria=False)
    return alt.layer(
        line.encode(y=y),
        base.mark_rule(color=colour, strokeWidth=2, aria=False).encode(y=low, y2="high:Q"),
        base.mark_point(
            color=colour,
            fill=colour,
            opacity=1,
            size=60,
            shape="square" if dash else "circle",
        ).encode(y=y, description="says:N"),
    )


def _said(row: Row) -> Row:
    text = f"t = {row['t']}: {row['kind']} {row['mean']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"
    return {**row, "says": text}


def _tenths_panel(found: Rows) -> alt.Chart:
    known = iterations(found)
    said = [
        {**row, "says": f"t = {row['t']}, tenth {row['tenth']}: gold {row['mean']:.3f}"}
        for row in found
    ]
    return (
        alt.Chart(alt.Data(values=said))
        .mark_line(strokeWidth=2, point={"filled": True, "size": 45, "opacity": 1})
        .encode(
            x=alt.X(
                "tenth:O",
                title="tenth of the answers by reward under r_0, 10 is the highest",
                axis=alt.Axis(labelAngle=0),
            ),
            y=alt.Y("mean:Q", title="mean gold, 0 to 1", scale=alt.Scale(zero=False)),
            color=by_iteration(known),
            shape=shaped(known),
            description="says:N",
        )
        .properties(width=290, height=210)
    )
