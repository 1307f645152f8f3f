"""Benchmark `judgebench`: JudgeBench, pairs of which one is objectively right.

Source: Tan et al., 2024 (arXiv 2410.12784), and its code, ScalerLab/JudgeBench.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from mutual_taught.evaluation.benchmarks import composites, files, reading
from mutual_taught.evaluation.benchmarks.base import (
    Hub,
    Item,
    Items,
    Metrics,
    Scores,
    groups_of,
)
from mutual_taught.evaluation.benchmarks.files import BadRowError, BenchmarkRow
from mutual_taught.evaluation.benchmarks.pairs import share_table, shares
from mutual_taught.evaluation.benchmarks.resampling import Mean
from mutual_taught.terminal.signs import excerpt

HUB = Hub("ScalerLab/JudgeBench", ("data/gpt-*.jsonl", "data/claude-*.jsonl"))
EXPECTED = (
    "JudgeBench's rows of pair_id, source, question, response_model, response_A, response_B, label "
    "(A>B or B>A)"
)
records = share_table
CATEGORIES = {
    "mmlu-pro": "knowledge",
    "livebench-reasoning": "reasoning",
    "livebench-math": "math",
    "livecodebench": "coding",
}
LABELS = {"A>B": (1.0, 0.0), "B>A": (0.0, 1.0)}


def read(paths: Sequence[Path]) -> Items:
    """Read the published rows.

    Raises:
        InputError: see `reading.read`.
    """
    return reading.read(paths, _item, EXPECTED)


def _item(row: BenchmarkRow) -> Item:
    source, label = files.text(row, "source"), files.text(row, "label")
    category = next((to for start, to in CATEGORIES.items() if source.startswith(start)), None)
    if category is None:
        raise BadRowError(
            f"source is {excerpt(source)!r}; expected one that begins with {', '.join(CATEGORIES)}"
        )
    if label not in LABELS:
        raise BadRowError(f"label is {excerpt(label)!r}; expected one of {', '.join(LABELS)}")
    responses = [reading.response(row, name) for name in ("response_A", "response_B")]
    model = {"response_model": files.text(row, "response_model")}
    name, messages = files.text(row, "pair_id"), files.prompt(row, "question")
    return Item(name, category, messages, responses, LABELS[label], (), model)


def parts(items: Items, scores: Scores) -> Mapping[str, Mean]:
    """Give each category, and each model whose responses were paired: these are reported apart."""
    right, groups = shares(items, scores), groups_of(items)
    models = [f"response_model.{item.note['response_model']}" for item in items]
    return {
        **composites.parts([item.subset for item in items], right, groups),
        **composites.parts(models, right, groups),
    }


def metrics(items: Items, scores: Scores) -> Metrics:
    """Give the accuracy over all pairs, by category, and by the model that answered."""
    return composites.report(items, scores, parts)
