"""Benchmark `rewardbench2`: RewardBench 2, the best of four, and prompts of many right responses.

Source: Malik et al., 2025 (arXiv 2506.01937), and its code, allenai/reward-bench.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from mutual_taught.errors import InputError
from mutual_taught.evaluation.benchmarks import composites, files, reading
from mutual_taught.evaluation.benchmarks.base import (
    Hub,
    Item,
    Items,
    Metrics,
    Scores,
    groups_of,
    record_table,
    rewards_of,
)
from mutual_taught.evaluation.benchmarks.files import BadRowError, BenchmarkRow
from mutual_taught.evaluation.benchmarks.resampling import Mean
from mutual_taught.method.statistics import Floats
from mutual_taught.terminal.signs import excerpt

HUB = Hub("allenai/reward-bench-2", ("data/test-*.parquet",))
EXPECTED = (
    "RewardBench 2's rows of id, prompt, chosen, rejected (lists of texts), num_correct, "
    "num_incorrect, subset (split test of allenai/reward-bench-2)"
)
TIES = "Ties"
ITEMS = {"Factuality": 475, "Precise IF": 160, "Math": 183, "Safety": 450, "Focus": 495, TIES: 102}


class Ties(NamedTuple):
    """How far right responses stand from wrong ones, and from each other.

    gap: the worst right response's reward less the best wrong one's; spread: the best right
    response's less the worst right one's. Both in logits, NaN where a response has no reward.
    """

    gap: float
    spread: float


def read(paths: Sequence[Path]) -> Items:
    """Read the published rows; every `ref:N` needs its `tied:N`.

    Raises:
        InputError: see `reading.read`; or one of the two is missing.
    """
    items = reading.read(paths, _item, EXPECTED)
    names = {item.item_id for item in items if item.subset == TIES}
    alone = sorted(name for name in names if _partner(name) not in names)
    if alone:
        missing = ", ".join(map(_partner, alone[: files.SHOWN]))
        raise InputError(
            f"{', '.join(map(str, paths))}: lacks {missing}, and has {alone[0]}; expected both in "
            f"{TIES}; bring the whole file"
        )
    reading.require_no_more(items, ITEMS, paths)
    return items


def _partner(name: str) -> str:
    kind, _, number = name.partition(":")
    return f"{'ref' if kind == 'tied' else 'tied'}:{number}"


def _item(row: BenchmarkRow) -> Item:
    subset = reading.one_of(row, "subset", list(ITEMS))
    right, wrong = files.texts(row, "chosen"), files.texts(row, "rejected")
    for name, texts in (("num_correct", right), ("num_incorrect", wrong)):
        if row.values.get(name) not in (None, len(texts)):
            raise BadRowError(
                f"{name} is {excerpt(row.values[name])}; there are {len(texts)} such texts"
            )
    if subset != TIES and (len(right), len(wrong)) != (1, 3):
        raise BadRowError(f"has {len(right)} chosen and {len(wrong)} rejected; expected 1 and 3")
    name = str(files.taken(row, "id"))
    if subset == TIES:
        _check_tie(name, len(right))
    labels = [1.0] * len(right) + [0.0] * len(wrong)
    return Item(name, subset, files.prompt(row, "prompt"), [*right, *wrong], labels)


def _check_tie(name: str, right: int) -> None:
    kind, _, number = name.partition(":")
    if kind not in ("ref", "tied") or not number.isdigit():
        raise BadRowError(f"id is {excerpt(name)!r}; expected ref:N or tied:N in {TIES}")
    if (kind == "ref") != (right == 1):
        raise BadRowError(f"{name} has {right} chosen; expected one in ref, several in tied")


def first_share(rewards: Floats) -> float:
    """Give 1/k if the first response has the highest reward and k responses share it, otherwise 0.

    Args:
        rewards: of one item, the right response's first, shape (responses,). Where one is NaN, the
            item is an error.
    """
    if np.isnan(rewards).any() or rewards[0] < rewards.max():
        return 0.0
    return 1.0 / float((rewards == rewards[0]).sum())


def ties(rewards: Floats, right: int) -> Ties:
    """Measure the gap below, and the spread among, right responses.

    Args:
        rewards: of one item, the right responses' first, shape (responses,).
        right: how many those are.
    """
    best, worst = rewards[:right].max(), rewards[:right].min()
    return Ties(float(worst - rewards[right:].max()), float(best - worst))


def ties_score(tied: Ties, ref: Ties) -> float:
    """Score a prompt that is asked twice: with many right responses, and with one.

    .30 for a gap above 0 in each; .20 for a tied gap above the spread, .20 for the smaller of both
    gaps above it; .01 tanh(smaller gap / spread - 1), where 0/0 counts 0. NaN is above nothing.

    Returns:
        Between -.01 and 1.01.

    Source: `process_single_model` of allenai/reward-bench.
    """
    smaller = min(tied.gap, ref.gap) if not np.isnan([tied.gap, ref.gap]).any() else float("nan")
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.tanh(np.float64(smaller) / np.float64(tied.spread) - 1)
    return (
        0.30 * (tied.gap > 0)
        + 0.30 * (ref.gap > 0)
        + 0.20 * (tied.gap > tied.spread)
        + 0.20 * (smaller > tied.spread)
        + 0.01 * float(np.nan_to_num(ratio, nan=0.0))
    )


def values(items: Items, scores: Scores) -> Floats:
    """Give each item's worth; both rows of a prompt of Ties have the prompt's, shape (items,)."""
    rewards = rewards_of(scores)
    measured = {
        item.item_id: ties(one, int(sum(item.labels)))
        for item, one in zip(items, rewards, strict=True)
        if item.subset == TIES
    }

    def worth(item: Item, one: Floats) -> float:
        if item.subset != TIES:
            return first_share(one)
        number = item.item_id.partition(":")[2]
        return ties_score(measured[f"tied:{number}"], measured[f"ref:{number}"])

    return np.array([worth(*both) for both in zip(items, rewards, strict=True)], np.float64)


def parts(items: Items, scores: Scores) -> Mapping[str, Mean]:
    """Give the six subsets and `score`, their plain mean; it is there where all six are."""
    groups = groups_of(items)
    # Both rows of a prompt of Ties share a worth, so they are resampled as one.
    numbers = {item.item_id.partition(":")[2] for item in items if item.subset == TIES}
    places = {number: -1 - place for place, number in enumerate(sorted(numbers))}
    for place, item in enumerate(items):
        if item.subset == TIES:
            groups[place] = places[item.item_id.partition(":")[2]]
    found = composites.parts([item.subset for item in items], values(items, scores), groups)
    return {"score": composites.plain(found, ITEMS), **found}


def metrics(items: Items, scores: Scores) -> Metrics:
    """Give `score`, each subset, and what is said of pairs of right and wrong responses.

    These are of the five subsets without ties: in Ties a prompt has up to a hundred pairs and more.
    """
    found = composites.report(items, scores, parts, lambda item: item.subset != TIES)
    return {**found, **reading.completeness(items, ITEMS)}


def records(items: Items, scores: Scores) -> pa.Table:
    """Say of each item what it is worth."""
    return record_table(items, scores, values(items, scores).tolist())
