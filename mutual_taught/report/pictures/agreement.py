"""Agreement of r_t and r_0 with gold on pi_t's own responses, by instruction: did r_t follow?"""

from collections import Counter
from collections.abc import Mapping, Sequence

import altair as alt
import numpy as np
import pyarrow as pa

from mutual_taught.evaluation.intervals import where
from mutual_taught.method.statistics import bootstrap, ranked_right
from mutual_taught.report.page import Picture
from mutual_taught.report.pictures.rows import Row, Rows, Seen, number, place, plain
from mutual_taught.report.pictures.theme import FIRST, INK, SECOND, drawn, panels
from mutual_taught.terminal.signs import visible

NAME = "agreement"
TITLE = "Does r_t still agree with gold on its policy's answers?"
ALL = "all pairs"
TYPES = 10  # of instructions, those with the most pairs at the last iteration
LONG = 34  # letters of a name
MODELS = {"rt": "r_t", "r0": "r_0"}
SAYS = (
    "A point is the share of pairs of π_t's own answers to one prompt that the reward model ranks "
    "as gold does, with the 95 % interval over prompts; pairs of equal gold are left out. r_t "
    "(filled circle) stands above r_0 (square) on the same pairs. The dotted line is a coin. If "
    "r_t is not right of r_0, training it on this policy's pairs did not help it there. A pair "
    "counts under each instruction of its prompt; the ten instructions with the most pairs are "
    "shown."
)


def rows(seen: Seen) -> Rows:
    """Give how often each reward model is right on own samples, of all and by instruction.

    r_0 only at t = 0, where r_t is r_0. Nothing without gold.
    """
    scores, asked = seen.past.rm_scores, seen.past.instructions
    if seen.responses is None or scores is None or asked is None:
        return []
    own = where(scores, set="own_samples")
    if not len(own):
        return []
    kinds = _instructions(asked)
    found: Rows = []
    for model in ("r0",) if seen.iteration == 0 else MODELS:
        part = where(own, reward_model=model)
        found += [
            {"t": seen.iteration, "model": MODELS[model], **row}
            for row in _shares(part, kinds, seen.seed)
        ]
    return found


def _instructions(prompts: pa.Table) -> Mapping[str, set[str]]:
    ids, kinds = prompts["prompt_id"].to_pylist(), prompts["instruction_ids"].to_pylist()
    return dict(zip(ids, map(set, kinds), strict=True))


def _shares(part: pa.Table, kinds: Mapping[str, set[str]], seed: int) -> Rows:
    """Give the share of right pairs over all, and over the pairs of each instruction."""
    of_pair = [kinds.get(prompt, set()) for prompt in part["prompt_id"].to_pylist()]
    counted = Counter(kind for names in of_pair for kind in names)
    right = ranked_right(number(part["reward_chosen"]), number(part["reward_rejected"]))
    prompts = place(part["prompt_id"])
    found: Rows = []
    for kind in [ALL, *sorted(counted)]:
        own = np.array([kind == ALL or kind in names for names in of_pair])
        interval = bootstrap(right[own], seed, prompts[own])
        found.append(
            {
                "instruction": kind,
                "right": plain(interval.mean),
                "low": plain(interval.ci_lo),
                "high": plain(interval.ci_hi),
                "pairs": int(own.sum()),
            }
        )
    return found


def draw(found: Rows) -> Picture | None:
    """Draw shares by instruction, a panel an iteration."""
    if not found:
        return None
    names = shown_types(found)
    said = [_said(row) for row in found if row["instruction"] in names]
    base = alt.Chart().encode(
        y=alt.Y(
            "name:N",
            title=None,
            axis=alt.Axis(labelLimit=240),
            sort=[_short(name) for name in names],
        ),
        yOffset=alt.YOffset("model:N", sort=list(MODELS.values())),
        color=alt.Color(
            "model:N",
            scale=alt.Scale(domain=list(MODELS.values()), range=[FIRST, SECOND]),
            legend=alt.Legend(title="reward model"),
        ),
    )
    share = alt.Scale(domain=[0, 1])
    title = "pairs ranked right"
    layers = alt.layer(
        alt.Chart()
        .mark_rule(strokeDash=[2, 3], color=INK, opacity=0.6, aria=False)
        .encode(x="mean(half):Q"),
        base.mark_rule(strokeWidth=2, aria=False).encode(
            x=alt.X("low:Q", title=title, scale=share, axis=alt.Axis(tickCount=3)), x2="high:Q"
        ),
        base.mark_point(filled=True, size=55, opacity=1).encode(
            x=alt.X("right:Q", title=title, scale=share),
            shape=alt.Shape(
                "model:N",
                scale=alt.Scale(domain=list(MODELS.values()), range=["circle", "square"]),
            ),
            description="says:N",
        ),
        data=alt.Data(values=said),
    ).properties(width=140, height={"step": 30, "for": "position"})
    chart = layers.facet(
        facet=panels(),
        columns=3,
    )
    return drawn(chart, NAME, TITLE, SAYS)


def shown_types(found: Rows) -> Sequence[str]:
    """Choose what is shown: all pairs, then the instructions with the most pairs, at most ten."""
    most: Counter[str] = Counter()
    for row in found:
        if row["instruction"] != ALL:
            most[str(row["instruction"])] += int(str(row["pairs"]))
    return [ALL, *(name for name, _ in sorted(most.items(), key=lambda item: (-item[1], item[0])))][
        : TYPES + 1
    ]


def _short(name: str) -> str:
    text = visible(name)
    return text if len(text) <= LONG else text[: LONG - 1] + "…"


def _said(row: Row) -> Row:
    name = _short(str(row["instruction"]))
    text = (
        f"t = {row['t']}, {name}, {row['model']}: {row['right']:.3f} "
        f"[{row['low']:.3f}, {row['high']:.3f}], {row['pairs']} pairs"
    )
    return {**row, "name": name, "half": 0.5, "says": text}
