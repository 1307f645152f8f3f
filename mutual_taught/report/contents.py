"""What the page of a report says, section by section, from what the report remembers."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from mutual_taught.artifacts import tables
from mutual_taught.method.statistics import Interval
from mutual_taught.report import (
    alarms,
    before_after,
    markdown,
    past,
    samples,
    story,
    words,
)
from mutual_taught.report.before_after import Change
from mutual_taught.report.page import Browser, Grid, Picture, Section
from mutual_taught.report.past import History

HEX = 12  # of a digest are shown; what is beside it makes it plain which one is meant
ORDERS = (
    ("change", "largest change"),
    ("disagreement", "reward and gold disagree most"),
    ("longest", "longest answer"),
    ("shortest", "shortest answer"),
)


class Setting(NamedTuple):
    """What the numbers depend on most; None: no tau decides, or no params.yaml tells the seed."""

    seed: int | None
    threshold: float | None
    policy: str
    reward_model: str


class Remembered(NamedTuple):
    """What a report has of its iterations: their tables, and the samples that are shown."""

    history: History
    samples: Mapping[int, Sequence[samples.Sample]]


def read(report: Path) -> Remembered:
    """Read what a report remembers.

    A stopped iteration evaluates nothing, so its eval samples are those of an earlier one, and are
    left out.
    """
    history = past.read(report)
    found = {one.iteration: _samples(report, one) for one in history}
    return Remembered(history, samples.fitted(found))


def _samples(report: Path, one: past.Past) -> list[samples.Sample]:
    found = samples.read(report / past.FOLDER / str(one.iteration))
    return [sample for sample in found if not (one.carried and sample.split == "eval")]


def title(history: History) -> str:
    """Name the page."""
    last = history[-1].iteration
    return f"Mutual-Taught, iterations 0 to {last}" if last else "Mutual-Taught, before iteration 1"


def sections(known: Remembered, setting: Setting, pictures: Sequence[Picture]) -> list[Section]:
    """Lay out the page: story, alarms, both models, pictures, numbers, samples, how it was made.

    Args:
        known: what the report remembers.
        setting: what the numbers depend on most.
        pictures: those that have something to show.
    """
    history = known.history
    policy = before_after.policy(history, setting.seed or 0)
    reward_model = before_after.reward_model(history, setting.seed or 0)
    told = story.Told(history, setting.threshold, policy, reward_model)
    found = [
        Section(
            "story",
            "What happened",
            story.sentences(told),
            alarms.lines(past.entries(history)),
            facts(known, setting),
        ),
        Section("models", "Both models, before and after", tables=_changes(told)),
        Section("pictures", "Pictures", pictures=pictures),
        Section("numbers", "All numbers", tables=[numbers(history)], notes=[markdown.NOTES]),
        browser(known),
        made(history),
        Section("glossary", "Glossary", facts=list(words.GLOSSARY.items()), style="glossary"),
    ]
    return [section for section in found if section.filled]


def facts(known: Remembered, setting: Setting) -> list[tuple[str, str]]:
    """Name the models, tau, the seed and the formats that numbers were computed in."""
    history, last = known.history, known.history[-1]
    tau = "none: the last checkpoint is taken"
    if setting.threshold is not None:
        tau = f"{setting.threshold:.3f}"
    elif not all(story.took_last(one.metrics.get("select_policy", {}), None) for one in history):
        tau = ""  # it decided, and no params.yaml tells what it was
    drawn = _said(last.generations, "dtype")
    ranked = (one.ranked_pairs for one in reversed(history) if one.ranked_pairs is not None)
    trained = next((said for data in ranked if (said := _said(data, "reference_dtype"))), "")
    found = [
        ("policy", setting.policy),
        ("reward model", setting.reward_model),
        ("τ", tau if last.iteration else ""),
        ("seed", "" if setting.seed is None else str(setting.seed)),
        ("sampling", drawn),
        ("training", trained),
    ]
    return [(name, text) for name, text in found if text]


def _said(data: pa.Table | None, name: str) -> str:
    return "" if data is None else str(tables.provenance(data).get(name) or "")


def _changes(told: story.Told) -> list[Grid]:
    """Lay out what changed, a table for each model; none where nothing changed or is measured."""
    last = before_after.final(told.history)
    if not last:
        return []
    both = (("policy", "π", told.policy), ("reward model", "r", told.reward_model))
    return [
        Grid(
            f"The {name}: {sign}_0 and {sign}_{last}",
            ["", f"{sign}_0", f"{sign}_{last}", "difference", "p", "prompts"],
            [change_row(change) for change in changes],
        )
        for name, sign, changes in both
        if changes
    ]


def change_row(change: Change) -> list[str]:
    """Lay out a change: before, after, the paired difference, its p, and how many prompts."""
    values = (change.before, change.after)
    return [
        change.name,
        *(interval(value, change.digits) for value in values),
        interval(change.difference, change.digits, "+"),
        story.shown_p(change.p),
        str(change.difference.n),
    ]


def interval(value: Interval, digits: int, sign: str = "") -> str:
    """Format a mean with its interval."""
    size = f"z.{digits}f"
    return f"{value.mean:{sign}{size}} [{value.ci_lo:{size}}, {value.ci_hi:{size}}]"


def numbers(history: History) -> Grid:
    """Lay out the rows of `status` and of report.md, those in which some iteration has a number."""
    rows = [
        [words.label(name), *cells]
        for name, *cells in markdown.rows(past.entries(history))
        if not all(set(cell) <= {"–", " ", "/"} for cell in cells)
    ]
    return Grid("Every iteration", ["", *(f"t = {one.iteration}" for one in history)], rows)


def browser(known: Remembered) -> Section:
    """Lay out the samples, and say by which rule they were taken."""
    cards = samples.cards(known.samples)
    splits = list(dict.fromkeys(card.first.split for card in cards))
    instructions = sorted({name for card in cards for name in card.first.instructions})
    orders = [
        order for order in ORDERS if any(getattr(card, order[0]) is not None for card in cards)
    ]
    notes = [
        f"Of each split the first prompts by id, at most {samples.PROMPTS}: ids are hashes, so "
        f"this is a draw at random. At most {samples.RESPONSES} answers a prompt and "
        f"{samples.SIGNS} signs a text. Where all texts are more than "
        f"{samples.TEXT_BYTES // 10**6} MB, half as many prompts, and again, until they fit.",
        "mutual-taught trace with an id tells a prompt's whole life. mutual-taught prompts "
        "--worst 20 lists the eval prompts of lowest gold.",
    ]
    shown = Browser(cards, splits, instructions, orders) if cards else None
    return Section("samples", "Samples", notes=notes, browser=shown)


def made(history: History) -> Section:
    """Say what the page was made from: digests of models and tables, and commands."""
    last = history[-1].iteration
    models = (("π_t", "generations", "policy"), ("r_t", "judgements", "reward_model"))
    rows = [
        [name, *(_said(getattr(one, table), key)[:HEX] for one in history)]
        for name, table, key in models
    ]
    for kind in (*past.OF_STEPS, *past.OF_EVALUATION):
        cells = [_digest(getattr(one, kind.name)) for one in history]
        rows.append([f"{kind.name}.parquet", *cells])
    head = ["digest (its beginning)", *(f"t = {one.iteration}" for one in history)]
    stage = f"report@{last}" if last else "report_base"
    return Section(
        "made",
        "How it was made",
        tables=[Grid("Models, and rows of the tables", head, rows)],
        notes=[
            "With the params.yaml and the commit of the run, these make this page again, and "
            "check every decision of the run:"
        ],
        commands=[f"dvc repro {stage}", "mutual-taught verify"],
    )


def _digest(data: pa.Table | None) -> str:
    return "" if data is None else str(tables.said_digests(data)["rows"])[:HEX]
