"""Length against reward, and lengths by iteration: length bias."""

import altair as alt
import numpy as np
import pyarrow as pa

from mutual_taught.report.page import Picture
from mutual_taught.report.pictures.rows import (
    Floats,
    Row,
    Rows,
    Seen,
    iterations,
    number,
    plain,
)
from mutual_taught.report.pictures.shapes import by_rank, joined
from mutual_taught.report.pictures.theme import (
    FIRST,
    INK,
    SECOND,
    by_iteration,
    drawn,
    panels,
)

NAME = "lengths"
TITLE = "Does the reward like length, and do answers shrink or grow?"
PROMPTS = 100  # whose chosen and rejected responses are points: the first by id, a hash
GROUPS = 12  # of like size, whose means are the line
PERCENTILES = (5, 25, 50, 75, 95)
SAYS = (
    "Above, responses of the E-step: length against reward under r of t − 1. The line is the mean "
    "reward of all responses in twelve groups of like size, by length; a rising one says that the "
    "reward likes length. Points are the chosen and the rejected response of the first 100 prompts "
    "by id. Below, lengths of the eval answers: the bar has the middle half, the thin line nine "
    "tenths, the dot is the mean."
)


def rows(seen: Seen) -> Rows:
    """Give points and mean rewards by length of the E-step, and percentiles of eval responses."""
    found = [*_responses(seen), *_eval_responses(seen)]
    return [{"t": seen.iteration, **row} for row in found]


def _responses(seen: Seen) -> Rows:
    past = seen.past
    responses, rewards, ranked = past.responses, past.rewards, past.ranked_pairs
    if responses is None or rewards is None or ranked is None or not len(responses):
        return []
    lengths, values = number(responses["length_tokens"]), number(rewards["reward"])
    scored = ~np.isnan(values)
    mean = joined(by_rank(lengths[scored], values[scored], GROUPS))
    line: Rows = [
        {"kind": "mean", "length": plain(x), "reward": plain(y)}
        for x, y in zip(mean.x, mean.y, strict=True)
    ]
    return [*line, *_points(ranked, lengths, values)]


def _points(ranked: pa.Table, lengths: Floats, values: Floats) -> Rows:
    """Give both sides of the first kept pairs; every prompt has the same number of responses."""
    kept = np.flatnonzero(ranked["kept"].to_numpy(zero_copy_only=False))[:PROMPTS]
    width = len(lengths) // len(ranked)
    found: Rows = []
    for side in ("rejected", "chosen"):
        column = number(ranked[f"{side}_index"])[kept].astype(np.int64)
        found += [
            {"kind": side, "length": plain(lengths[at]), "reward": plain(values[at])}
            for at in kept * width + column
        ]
    return found


def _eval_responses(seen: Seen) -> Rows:
    if seen.responses is None or not len(seen.responses):
        return []
    lengths = number(seen.responses["length_tokens"])
    marks = zip(PERCENTILES, np.percentile(lengths, PERCENTILES), strict=True)
    row: Row = {"kind": "answers", "mean": plain(lengths.mean()), "n": len(lengths)}
    return [{**row, **{f"p{share}": plain(value) for share, value in marks}}]


def draw(found: Rows) -> Picture | None:
    """Draw length against reward a panel an iteration, and the ranges of lengths below."""
    scatter = [row for row in found if row["kind"] != "answers"]
    responses = [row for row in found if row["kind"] == "answers"]
    panels = [
        *([_scatter_panel(scatter)] if scatter else []),
        *([_ranges_panel(responses)] if responses else []),
    ]
    if not panels:
        return None
    chart = alt.vconcat(*panels, spacing=22).resolve_scale(
        color="independent", x="independent", y="independent", shape="independent"
    )
    return drawn(chart, NAME, TITLE, SAYS)


def _scatter_panel(found: Rows) -> alt.FacetChart:
    sides = ["chosen", "rejected"]
    base = alt.Chart().encode(
        x=alt.X("length:Q", title="length of the response, tokens"),
        y=alt.Y("reward:Q", title="reward, logits"),
    )
    points = (
        base.transform_filter("datum.kind != 'mean'")
        .mark_point(size=26, strokeWidth=1.5, opacity=0.75, aria=False)
        .encode(
            color=alt.Color(
                "kind:N",
                scale=alt.Scale(domain=sides, range=[FIRST, SECOND]),
                legend=alt.Legend(title="response (the line: mean of all)"),
            ),
            shape=alt.Shape("kind:N", scale=alt.Scale(domain=sides, range=["circle", "cross"])),
        )
    )
    mean = base.transform_filter("datum.kind == 'mean'").mark_line(
        strokeWidth=3, color=INK, aria=False
    )
    return (
        alt.layer(points, mean, data=alt.Data(values=found))
        .properties(width=270, height=190)
        .facet(
            facet=panels(),
            columns=2,
        )
    )


def _ranges_panel(found: Rows) -> alt.LayerChart:
    color = by_iteration(iterations(found), legend=False)
    said = [
        {
            **row,
            "says": f"t = {row['t']}: mean {row['mean']:.1f}, median {row['p50']:.0f}, 5 % below "
            f"{row['p5']:.0f}, 5 % above {row['p95']:.0f} tokens",
        }
        for row in found
    ]
    base = alt.Chart(alt.Data(values=said)).encode(y=alt.Y("t:O", title="iteration t"), color=color)
    title = "length of the eval answers, tokens"
    return alt.layer(
        base.mark_rule(strokeWidth=2, aria=False).encode(x=alt.X("p5:Q", title=title), x2="p95:Q"),
        base.mark_bar(height=12, opacity=0.55, aria=False).encode(
            x=alt.X("p25:Q", title=title), x2="p75:Q"
        ),
        base.mark_point(filled=True, size=80, opacity=1).encode(
            x=alt.X("mean:Q", title=title), description="says:N"
        ),
    ).properties(width=570, height=alt.Step(26))
