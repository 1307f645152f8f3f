"""Benchmark `llmbar`: LLMBar, which response follows the instruction.

Source: Zeng et al., 2023 (arXiv 2310.07641), and its data, princeton-nlp/LLMBar.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from mutual_taught.errors import InputError
from mutual_taught.evaluation.benchmarks import composites, files, reading
from mutual_taught.evaluation.benchmarks.base import (
    Item,
    Items,
    Metrics,
    Scores,
    groups_of,
)
from mutual_taught.evaluation.benchmarks.files import BadRowError, BenchmarkRow
from mutual_taught.evaluation.benchmarks.pairs import share_table, shares
from mutual_taught.evaluation.benchmarks.resampling import Mean
from mutual_taught.keys import prompt_id
from mutual_taught.terminal.signs import excerpt

HUB = None
EXPECTED = (
    "LLMBar's lists of input, output_1, output_2, label (1 or 2), each in a folder of its subset, "
    "such as Natural/dataset.json (Dataset/LLMBar of github.com/princeton-nlp/LLMBar)"
)
records = share_table
ITEMS = {"Natural": 100, "Neighbor": 134, "GPTInst": 92, "GPTOut": 47, "Manual": 46}
ADVERSARIAL = tuple(name for name in ITEMS if name != "Natural")
LABELS = {1: (1.0, 0.0), 2: (0.0, 1.0)}


def read(paths: Sequence[Path]) -> Items:
    """Read the published lists; a row's subset is the name of its file's folder.

    Raises:
        InputError: see `reading.read`; or a subset has more rows than were published.
    """
    items = reading.read(paths, _item, EXPECTED)
    reading.require_no_more(items, ITEMS, paths)
    return items


def _item(row: BenchmarkRow) -> Item:
    subset = row.path.absolute().parent.name
    if subset not in ITEMS:
        raise InputError(
            f"{row.path}: its folder is no subset; expected one called {', '.join(ITEMS)}"
        )
    label = files.taken(row, "label")
    if type(label) is not int or label not in LABELS:
        raise BadRowError(f"label is {excerpt(label)}; expected 1 or 2")
    messages = files.prompt(row, "input")
    responses = [reading.response(row, name) for name in ("output_1", "output_2")]
    return Item(f"{subset}:{prompt_id(messages)}", subset, messages, responses, LABELS[label])


def parts(items: Items, scores: Scores) -> Mapping[str, Mean]:
    """Give each subset, `adversarial` (mean of its four) and `score` (mean of all five)."""
    found = composites.parts(
        [item.subset for item in items], shares(items, scores), groups_of(items)
    )
    return {
        "score": composites.plain(found, ITEMS),
        "adversarial": composites.plain(found, ADVERSARIAL),
        **found,
    }


def metrics(items: Items, scores: Scores) -> Metrics:
    """Give the accuracy over all pairs, the subsets and their means."""
    found = composites.report(items, scores, parts)
    return {**found, **reading.completeness(items, ITEMS)}
