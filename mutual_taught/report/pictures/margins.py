"""Margins of the pseudo pairs with -epsilon_t: what is dropped, and whether labels are right."""

import altair as alt
import numpy as np
import pyarrow as pa
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
    plain,
)
from mutual_taught.report.pictures.shapes import edges_through, ranks
from mutual_taught.report.pictures.theme import (
    FIRST,
    INK,
    SECOND,
    by_iteration,
    drawn,
    panels,
    shaped,
)

NAME = "margins"
TITLE = "What does the filter drop, and are the labels right?"
BINS = 30
A_GROUP = 12  # pairs with different gold, at least, for a share of right labels
GROUPS = 8


def rows(seen: Seen) -> Rows:
    """Give counts of pairs by margin, and the share of labels that gold finds right by margin.

    Pairs without a margin are in no bin. Labels are checked where gold of both answers is known and
    differs.
    """
    pairs = seen.past.pseudo_pairs
    if pairs is None or not len(pairs):
        return []
    scored = pairs.filter(pairs["reward_margin"].is_valid())
    if not len(scored):
        return []
    tolerance = seen.past.metrics.get("build_pairs", {}).get("tolerance")
    margins = number(scored["reward_margin"])
    kept = scored["kept"].to_numpy(zero_copy_only=False).astype(bool)
    found = [*_bins(margins, kept, tolerance), *_labels(scored, seen.seed)]
    return [{"t": seen.iteration, **row} for row in found]


def _bins(margins: Floats, kept: NDArray[np.bool_], tolerance: float | None) -> Rows:
    """Count kept and dropped pairs in bins of which none lies on both sides of -epsilon_t."""
    if margins.min() == margins.max():
        return []
    cut = 0.0 if tolerance is None else -tolerance
    edges = edges_through(margins, cut, BINS)
    found: Rows = []
    for fate, own in (("kept", kept), ("dropped", ~kept)):
        counts = np.histogram(margins[own], edges)[0]
        found += [
            {
                "kind": "bin",
                "fate": fate,
                "from": plain(edges[place]),
                "to": plain(edges[place + 1]),
                "pairs": int(count),
                "cut": None if tolerance is None else plain(cut),
            }
            for place, count in enumerate(counts)
            if count
        ]
    return found


def _labels(scored: pa.Table, seed: int) -> Rows:
    """Give the share of right labels in groups of like size by margin, with 95 % intervals."""
    margins, right = checked(scored)
    groups = min(GROUPS, len(right) // A_GROUP)
    found: Rows = []
    for part in ranks(margins, groups) if groups else []:
        interval = bootstrap(right[part], seed)
        found.append(
            {
                "kind": "label",
                "margin": plain(float(np.median(margins[part]))),
                "right": plain(interval.mean),
                "low": plain(interval.ci_lo),
                "high": plain(interval.ci_hi),
                "n": len(part),
            }
        )
    return found


def checked(scored: pa.Table) -> tuple[Floats, Floats]:
    """Give margins and whether gold finds the label right, of pairs whose gold differs.

    The label is that the newer answer is better, unless the column `chosen` has it otherwise.
    """
    better = number(scored["gold"]) - number(scored["previous_gold"])
    if "chosen" in scored.column_names:
        older = pc.equal(scored["chosen"], "previous_response").to_numpy(zero_copy_only=False)
        better = np.where(older, -better, better)
    differs = ~np.isnan(better) & (better != 0)
    return number(scored["reward_margin"])[differs], (better[differs] > 0).astype(np.float64)


def draw(found: Rows) -> Picture | None:
    """Draw margins by iteration, and below them the share of right labels where gold is known."""
    bins = [row for row in found if row["kind"] == "bin"]
    if not bins:
        return None
    labels = [row for row in found if row["kind"] == "label"]
    panels = [_bins_panel(bins), *([_labels_panel(labels)] if labels else [])]
    chart = alt.vconcat(*panels, spacing=22).resolve_scale(color="independent", shape="independent")
    return drawn(chart, NAME, TITLE, _says(bins, bool(labels)))


def _bins_panel(bins: Rows) -> alt.FacetChart:
    base = alt.Chart()
    fates = alt.Scale(domain=["kept", "dropped"], range=[FIRST, SECOND])
    bars = base.mark_bar(binSpacing=1).encode(
        x=alt.X("from:Q", bin="binned", title="reward margin Δ under r of t − 1, logits"),
        x2="to:Q",
        y=alt.Y("pairs:Q", title="pseudo pairs"),
        color=alt.Color("fate:N", scale=fates, legend=alt.Legend(title="the pair is")),
        description="says:N",
    )
    layers: list[alt.Chart] = [bars]
    if any(row["cut"] is not None for row in bins):
        layers.append(
            base.mark_rule(strokeDash=[6, 4], strokeWidth=1.5, color=INK, aria=False).encode(
                x="mean(cut):Q"
            )
        )
    return (
        alt.layer(*layers, data=alt.Data(values=[_said(row) for row in bins]))
        .properties(width=270, height=150)
        .facet(
            facet=panels(),
            columns=2,
        )
    )


def _said(row: Row) -> Row:
    return {**row, "says": f"{row['pairs']} {row['fate']}, Δ {row['from']:.2f} to {row['to']:.2f}"}


def _labels_panel(labels: Rows) -> alt.LayerChart:
    known = iterations(labels)
    said = [
        {
            **row,
            "says": f"t = {row['t']}, Δ {row['margin']:.2f}: {row['right']:.3f}, n = {row['n']}",
        }
        for row in labels
    ]
    base = alt.Chart(alt.Data(values=said)).encode(
        x=alt.X("margin:Q", title="reward margin Δ, median of the group, logits"),
        color=by_iteration(known),
    )
    share = alt.Scale(domain=[0, 1])
    half = (
        alt.Chart(alt.Data(values=[{"half": 0.5}]))
        .mark_rule(strokeDash=[2, 3], color=INK, opacity=0.6, aria=False)
        .encode(y="half:Q")
    )
    return alt.layer(
        half,
        base.mark_rule(strokeWidth=1.5, opacity=0.7, aria=False).encode(
            y=alt.Y("low:Q", title="labels right by gold", scale=share), y2="high:Q"
        ),
        base.mark_line(strokeWidth=2, point={"filled": True, "size": 55, "opacity": 1}).encode(
            y=alt.Y("right:Q", title="labels right by gold", scale=share),
            shape=shaped(known),
            description="says:N",
        ),
    ).properties(width=570, height=150)


def _says(bins: Rows, labelled: bool) -> str:
    text = (
        "Above, the pairs of π_t's answer and the older one by how much better r of t − 1 finds "
        "the newer answer. "
    )
    if any(row["cut"] is not None for row in bins):
        text += "The filter drops what lies left of the dashed line, −ε_t."
    else:
        text += "No filter by margin was used."
    if labelled:
        text += (
            " Below, the share of pairs whose label (which answer is the better one) gold finds "
            "right, by margin, with 95 % intervals; pairs of equal gold are left out. Below the "
            "dotted line a coin would label better: the filter helps where only what it drops is "
            "there."
        )
    return text
