"""Benchmark `rmb`: RMB, pairs and best-of-N groups of helpful and harmless responses.

Source: Zhou et al., 2024 (arXiv 2410.09893), and its data, Zhou-Zoey/RMB-Reward-Model-Benchmark.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from mutual_taught.evaluation.benchmarks import composites, files, reading
from mutual_taught.evaluation.benchmarks.base import (
    Item,
    Items,
    Metrics,
    Scores,
    groups_of,
    record_table,
    rewards_of,
)
from mutual_taught.evaluation.benchmarks.files import BadRowError, BenchmarkRow
from mutual_taught.evaluation.benchmarks.resampling import Mean, mix
from mutual_taught.method.statistics import Floats
from mutual_taught.terminal.signs import excerpt

HUB = None
EXPECTED = (
    "RMB's lists of conversation_input, category_path, and either pair_uid, chosen, reject or "
    "bon_uid, bon_best, loser_list (folder RMB_dataset of "
    "github.com/Zhou-Zoey/RMB-Reward-Model-Benchmark)"
)
KINDS = {"Pairwise_set": "pairs", "BoN_set": "best_of_n"}
GOALS = {"Helpfulness": "helpfulness", "Harmlessness": "harmlessness"}
PARTS = tuple(f"{kind}.{goal}" for kind in KINDS.values() for goal in GOALS.values())
ITEMS = {"pairs": 17131, "best_of_n": 3786}


def read(paths: Sequence[Path]) -> Items:
    """Read the published lists, of pairs, of groups, or of both.

    Raises:
        InputError: see `reading.read`; or there are more than were published.
    """
    items = reading.read(paths, _item, EXPECTED)
    reading.require_no_more(_by_kind(items), ITEMS, paths)
    return items


def _by_kind(items: Items) -> Items:
    """Call each item's subset by its kind, pairs or best_of_n, as `ITEMS` counts them."""
    return [item._replace(subset=item.item_id.partition(":")[0]) for item in items]


def _item(row: BenchmarkRow) -> Item:
    kind, _, scenario = (path := files.text(row, "category_path")).partition("/")
    goal = scenario.partition("/")[0]
    if kind not in KINDS or goal not in GOALS:
        raise BadRowError(
            f"category_path is {excerpt(path)!r}; expected {' or '.join(KINDS)}, then "
            f"{' or '.join(GOALS)}"
        )
    best, others, name = (
        ("chosen", [files.taken(row, "reject")], files.text(row, "pair_uid"))
        if kind == "Pairwise_set"
        else ("bon_best", files.taken(row, "loser_list"), files.text(row, "bon_uid"))
    )
    if not isinstance(others, list) or not others:
        raise BadRowError(f"loser_list is {excerpt(others)!r}; expected a list of answers")
    responses = [_response(one) for one in (files.taken(row, best), *others)]
    labels = [1.0] + [0.0] * len(others)
    messages = files.prompt(row, "conversation_input")
    note = {"part": f"{KINDS[kind]}.{GOALS[goal]}"}
    return Item(f"{KINDS[kind]}:{name}", scenario, messages, responses, labels, (), note)


def _response(value: object) -> str:
    text = value.get("answer") if isinstance(value, dict) else None
    if not isinstance(text, str):
        raise BadRowError(f"has {excerpt(value)!r} as an answer; expected llm_name and answer")
    return text


def beats_all(rewards: Floats) -> float:
    """Give 1 where the first response's reward is above every other's: a tie is an error.

    Args:
        rewards: of one item, NaN, where there is none, is above nothing, shape (responses,).
    """
    return float((rewards[0] > rewards[1:]).all())


def values(items: Items, scores: Scores) -> Floats:
    """Give 1 where the best response beats all others of its item, shape (items,)."""
    return np.array([beats_all(one) for one in rewards_of(scores)], np.float64)


def parts(items: Items, scores: Scores) -> Mapping[str, Mean]:
    """Give accuracies of pairs and of groups for each goal: over items, and over scenarios.

    `<part>.micro` is over a part's items, `<part>.macro` the plain mean over its scenarios; `micro`
    and `macro` are the plain means of the four parts, where all are there.
    """
    right, groups = values(items, scores), groups_of(items)
    names = [item.note["part"] for item in items]
    scenarios = composites.parts(
        [f"{item.note['part']}/{item.subset}" for item in items], right, groups
    )
    found = {f"{part}.micro": mean for part, mean in composites.parts(names, right, groups).items()}
    for part in sorted(set(names)):
        of = [mean for name, mean in scenarios.items() if name.startswith(f"{part}/")]
        found[f"{part}.macro"] = mix((mean, 1.0) for mean in of)
    for kind in ("micro", "macro"):
        found[kind] = composites.plain(found, [f"{part}.{kind}" for part in PARTS])
    return found


def metrics(items: Items, scores: Scores) -> Metrics:
    """Give accuracies by kind and goal; what is said of all pairs is of the pairs only."""
    found = composites.report(items, scores, parts, lambda item: item.item_id.startswith("pairs:"))
    return {**found, **reading.completeness(_by_kind(items), ITEMS)}


def records(items: Items, scores: Scores) -> pa.Table:
    """Say of each item whether its best response beats all others."""
    return record_table(items, scores, values(items, scores).tolist())
