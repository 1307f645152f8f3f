"""Benchmark `rm-bench`: RM-Bench, three styles of a right response against three of a wrong one.

Source: Liu et al., 2024 (arXiv 2410.16184), and its code, THU-KEG/RM-Bench.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from mutual_taught.evaluation.benchmarks import composites, files, reading
from mutual_taught.evaluation.benchmarks.base import (
    Hub,
    Item,
    Items,
    Metrics,
    Scores,
    groups_of,
    rewards_of,
)
from mutual_taught.evaluation.benchmarks.files import BadRowError, BenchmarkRow
from mutual_taught.evaluation.benchmarks.pairs import share_table
from mutual_taught.evaluation.benchmarks.resampling import Mean
from mutual_taught.method.statistics import Floats
from mutual_taught.terminal.signs import excerpt

HUB = Hub("THU-KEG/RM-Bench", ("total_dataset.json",))
EXPECTED = (
    "RM-Bench's list of id, prompt, chosen, rejected (three texts each: concise, detailed, and so "
    "with Markdown), domain (total_dataset.json, or chat_filtered.json and so on)"
)
records = share_table
ITEMS = {"chat": 129, "code": 228, "math": 529, "safety-refuse": 284, "safety-response": 157}
DOMAINS = ("chat", "math", "code", "safety")
LEVELS = ("hard", "normal", "easy")


def read(paths: Sequence[Path]) -> Items:
    """Read the published rows; those without `domain` have it in their file's name.

    Raises:
        InputError: see `reading.read`; or a domain has more rows than were published.
    """
    items = reading.read(paths, _item, EXPECTED)
    reading.require_no_more(items, ITEMS, paths)
    return items


def _item(row: BenchmarkRow) -> Item:
    domain = _domain(row)
    responses = [*_styles(row, "chosen"), *_styles(row, "rejected")]
    name = f"{domain}:{files.taken(row, 'id')}"
    return Item(name, domain, files.prompt(row, "prompt"), responses, [1.0] * 3 + [0.0] * 3)


def _domain(row: BenchmarkRow) -> str:
    if row.values.get("domain") is not None:
        return reading.one_of(row, "domain", list(ITEMS))
    named = re.fullmatch(r"(.+)_filtered", row.path.stem)
    if named is None or named[1] not in ITEMS:
        raise BadRowError(
            f"lacks domain, and the file is not called after one of {', '.join(ITEMS)}, such as "
            "chat_filtered.json"
        )
    return named[1]


def _styles(row: BenchmarkRow, name: str) -> list[str]:
    texts = files.texts(row, name)
    if len(texts) != 3:
        raise BadRowError(f"{name} has {len(texts)} texts; expected 3 styles: {excerpt(texts)}")
    return texts


def right(rewards: Floats) -> Floats:
    """Compare each right response with each wrong one: a tie is an error.

    Args:
        rewards: of one item: three right responses from the plainest style to the most ornate, then
            three wrong ones likewise; NaN, where there is none, is never right. Shape (6,).

    Returns:
        1 or 0, shape (3, 3): rows are styles of the right response, columns of the wrong one.
    """
    return (rewards[:3, None] > rewards[None, 3:]).astype(np.float64)


def levels(right: Floats) -> tuple[float, float, float]:
    """Give the shares right at the levels hard, normal and easy.

    Hard is above the diagonal, where the wrong response's style is the more ornate one; normal is
    the diagonal; easy is below it.
    """
    upper, lower = np.triu_indices(3, 1), np.tril_indices(3, -1)
    return float(right[upper].mean()), float(right.diagonal().mean()), float(right[lower].mean())


def parts(items: Items, scores: Scores) -> Mapping[str, Mean]:
    """Give `score`, the levels, the domains, and each domain at each level.

    A domain is the mean of its three levels over its prompts; refusing and responding are one
    domain, safety. A level is the plain mean of the domains at it, the score that of the domains.
    """
    table = np.array([levels(right(one)) for one in rewards_of(scores)]).reshape(-1, 3)
    groups = groups_of(items)
    domains = [item.subset.partition("-")[0] for item in items]
    cells = {
        f"{domain}.{level}": part
        for place, level in enumerate(LEVELS)
        for domain, part in composites.parts(domains, table[:, place], groups).items()
    }
    of_level = {
        level: composites.plain(cells, [f"{domain}.{level}" for domain in DOMAINS])
        for level in LEVELS
    }
    # The draws follow from a part's name: a domain and its levels resample the same prompts alike.
    of_domain = composites.parts(domains, table.mean(1), groups)
    return {"score": composites.plain(of_domain, DOMAINS), **of_level, **of_domain, **cells}


def metrics(items: Items, scores: Scores) -> Metrics:
    """Give the score, levels, domains, and what is said of all nine comparisons of each prompt."""
    found = composites.report(items, scores, parts)
    return {**found, **reading.completeness(items, ITEMS)}
