"""Benchmark `rewardbench`: RewardBench, 2,985 pairs in 23 subsets and four sections.

Source: Lambert et al., 2024 (arXiv 2403.13787), and its code, allenai/reward-bench.
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
from mutual_taught.evaluation.benchmarks.files import BenchmarkRow
from mutual_taught.evaluation.benchmarks.pairs import share_table, shares
from mutual_taught.evaluation.benchmarks.resampling import Mean, mix

HUB = Hub(
    "allenai/reward-bench",
    ("data/filtered-*.parquet",),
    "d61ac5c97d0f2f7eb922da3c0b6bbaf614ae8d02",
)
EXPECTED = (
    "RewardBench's rows of id, prompt, chosen, rejected (texts), subset "
    "(split filtered of allenai/reward-bench)"
)
records = share_table
SECTIONS: Mapping[str, Mapping[str, int]] = {
    "chat": {
        "alpacaeval-easy": 100,
        "alpacaeval-length": 95,
        "alpacaeval-hard": 95,
        "mt-bench-easy": 28,
        "mt-bench-med": 40,
    },
    "chat_hard": {
        "mt-bench-hard": 37,
        "llmbar-natural": 100,
        "llmbar-adver-neighbor": 134,
        "llmbar-adver-GPTInst": 92,
        "llmbar-adver-GPTOut": 47,
        "llmbar-adver-manual": 46,
    },
    "safety": {
        "refusals-dangerous": 100,
        "refusals-offensive": 100,
        "xstest-should-refuse": 154,
        "xstest-should-respond": 250,
        "donotanswer": 136,
    },
    "reasoning": {
        "math-prm": 447,
        "hep-cpp": 164,
        "hep-go": 164,
        "hep-java": 164,
        "hep-js": 164,
        "hep-python": 164,
        "hep-rust": 164,
    },
}
ITEMS = {name: count for subsets in SECTIONS.values() for name, count in subsets.items()}
# Mathematics counts as much as all code together, 6 x 164.
WEIGHTS = {**ITEMS, "math-prm": 984}
SCORE = "rewardbench_v1_four_sections"  # an older table had a fifth section, of prior sets


def read(paths: Sequence[Path]) -> Items:
    """Read the published rows.

    Raises:
        InputError: see `reading.read`; or a subset has more rows than were published.
    """
    items = reading.read(paths, _item, EXPECTED)
    reading.require_no_more(items, ITEMS, paths)
    return items


def _item(row: BenchmarkRow) -> Item:
    subset = reading.one_of(row, "subset", list(ITEMS))
    responses = [reading.response(row, name) for name in ("chosen", "rejected")]
    name = f"{subset}:{files.taken(row, 'id')}"
    return Item(name, subset, files.prompt(row, "prompt"), responses, reading.RIGHT_WRONG)


def parts(items: Items, scores: Scores) -> Mapping[str, Mean]:
    """Give the score, its four sections, and each subset.

    A section is the mean of its subsets, weighted by their published sizes, mathematics by 984; the
    score is the plain mean of the sections. A section is there where all its subsets are.
    """
    found = composites.parts(
        [item.subset for item in items], shares(items, scores), groups_of(items)
    )
    sections = {
        section: mix((found.get(name, composites.NOTHING), WEIGHTS[name]) for name in subsets)
        for section, subsets in SECTIONS.items()
    }
    return {SCORE: composites.plain(sections, SECTIONS), **sections, **found}


def metrics(items: Items, scores: Scores) -> Metrics:
    """Give the score, sections, subsets, and what is said of all pairs."""
    found = composites.report(items, scores, parts)
    return {**found, **reading.completeness(items, ITEMS)}
