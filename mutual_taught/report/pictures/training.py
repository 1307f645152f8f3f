"""DPO's and the reward model's curves, iterations over each other: the health of training."""

import altair as alt
import pyarrow as pa

from mutual_taught.report.page import Picture
from mutual_taught.report.pictures.rows import Rows, Seen, iterations, number, plain
from mutual_taught.report.pictures.shapes import thinned
from mutual_taught.report.pictures.theme import by_iteration, drawn

NAME = "training"
TITLE = "Was training healthy?"
POINTS = 120  # of a line: neighbouring steps are averaged
DPO, REWARD = "DPO", "reward model"
# Columns of the curves, with what stands on the axis.
CURVES = {
    ("dpo", "loss"): (DPO, "loss"),
    ("dpo", "rewards/margins"): (DPO, "margin"),
    ("dpo", "rewards/accuracies"): (DPO, "accuracy"),
    ("dpo", "grad_norm"): (DPO, "gradient norm"),
    ("dpo", "chosen_logp_change"): (DPO, "chosen, Δ nats"),
    ("train_rm", "loss"): (REWARD, "loss"),
    ("train_rm", "margin"): (REWARD, "margin"),
    ("train_rm", "accuracy"): (REWARD, "accuracy"),
    ("train_rm", "grad_norm"): (REWARD, "gradient norm"),
}
SAYS = (
    "A point is a training batch, or the mean of neighbouring ones in a long training. Losses "
    "should fall, margins and accuracies rise, and gradient norms stay within a small range. The "
    "log-probability of the chosen responses should not fall by many nats: that is likelihood "
    "displacement, after which answers often get short. An accuracy of 1 from the first steps on "
    "says that the pairs teach nothing new."
)


def rows(seen: Seen) -> Rows:
    """Give the logged numbers of both trainings, at most 120 points a line."""
    curves = {"dpo": seen.past.dpo, "train_rm": seen.past.train_rm}
    return [
        {"t": seen.iteration, "model": model, "number": name, **point}
        for (stage, column), (model, name) in CURVES.items()
        for point in _line(curves[stage], column)
    ]


def _line(curve: pa.Table | None, column: str) -> Rows:
    if curve is None or not len(curve) or column not in curve.column_names:
        return []
    steps, values = (thinned(number(curve[name]), POINTS) for name in ("step", column))
    return [
        {"step": plain(step), "value": plain(value)}
        for step, value in zip(steps, values, strict=True)
    ]


def draw(found: Rows) -> Picture | None:
    """Draw a row of panels a model, a panel a number."""
    if not found:
        return None
    color = by_iteration(iterations(found))
    lines = [
        alt.hconcat(
            *(
                _panel(
                    [row for row in found if row["model"] == model and row["number"] == number],
                    color,
                )
                for own, number in CURVES.values()
                if own == model
            ),
            spacing=8,
        ).properties(title=alt.TitleParams(model, fontSize=12, anchor="start", offset=4))
        for model in (DPO, REWARD)
        if any(row["model"] == model for row in found)
    ]
    return drawn(alt.vconcat(*lines, spacing=18), NAME, TITLE, SAYS)


def _panel(found: Rows, color: alt.Color) -> alt.Chart:
    return (
        alt.Chart(alt.Data(values=found))
        .mark_line(strokeWidth=1.5, aria=False)
        .encode(
            x=alt.X("step:Q", title="step", axis=alt.Axis(tickCount=3)),
            y=alt.Y(
                "value:Q",
                title=str(found[0]["number"]) if found else None,
                scale=alt.Scale(zero=False),
                axis=alt.Axis(tickCount=4),
            ),
            color=color,
        )
        .properties(width=104, height=100)
    )
