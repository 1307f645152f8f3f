"""Rewards of the eval responses under r_0 and r_t: what was gained, and how it is spread."""

import altair as alt

from mutual_taught.report.page import Picture
from mutual_taught.report.pictures.rows import Floats, Rows, Seen, iterations, number, plain
from mutual_taught.report.pictures.shapes import bandwidth, density
from mutual_taught.report.pictures.theme import by_iteration, drawn

NAME = "rewards"
TITLE = "Did rewards rise, and for all answers?"
COLUMNS = {"reward_r0": "r_0", "reward_rt": "r_t"}
SAYS = (
    "Each line is how the rewards of one policy's answers to the eval prompts are spread; the "
    "upright lines are means. Left, the fixed r_0 rates all iterations, so the lines compare. "
    "Right, each iteration has its own r_t, whose scale may be another. A narrow hill far to the "
    "right that r_t has and r_0 has not is a reward model that likes its own pupil."
)


def rows(seen: Seen) -> Rows:
    """Give the densities of rewards under both models; responses without a reward are left out."""
    responses = seen.responses
    if responses is None:
        return []
    found: Rows = []
    for column, model in COLUMNS.items():
        values = number(responses[column].drop_null())
        found += [
            {"t": seen.iteration, "model": model, "n": len(values), **point}
            for point in _line(values)
        ]
    return found


def _line(values: Floats) -> Rows:
    """Give the points of a density and its mean; nothing where all values are alike."""
    width = bandwidth(values) if len(values) else 0.0
    if not width:
        return []
    line, mean = density(values, width), plain(values.mean())
    return [
        {"x": plain(x), "y": plain(y), "mean": mean} for x, y in zip(line.x, line.y, strict=True)
    ]


def draw(found: Rows) -> Picture | None:
    """Draw the densities of all iterations over each other, a panel a model."""
    if not found:
        return None
    color = by_iteration(iterations(found))
    panels = [
        _panel([row for row in found if row["model"] == model], model, color)
        for model in COLUMNS.values()
        if any(row["model"] == model for row in found)
    ]
    return drawn(alt.hconcat(*panels, spacing=24), NAME, TITLE, SAYS)


def _panel(found: Rows, model: str, color: alt.Color) -> alt.LayerChart:
    base = alt.Chart(alt.Data(values=found)).encode(color=color)
    line = base.mark_line(strokeWidth=2, aria=False).encode(
        x=alt.X("x:Q", title=f"reward under {model}, logits"),
        y=alt.Y("y:Q", title="density, per logit", axis=alt.Axis(tickCount=4)),
    )
    mean = base.mark_rule(strokeWidth=1.5, strokeDash=[2, 2], aria=False).encode(x="mean(mean):Q")
    return alt.layer(line, mean).properties(width=280, height=200)
