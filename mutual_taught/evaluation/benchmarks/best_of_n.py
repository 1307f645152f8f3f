"""Benchmark `best-of-n`: any file of a prompt, several responses and a label of each."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from mutual_taught.evaluation.benchmarks import files
from mutual_taught.evaluation.benchmarks.base import (
    SEED,
    Item,
    Items,
    Metrics,
    Scores,
    groups_of,
    record_table,
    rewards_of,
)
from mutual_taught.evaluation.benchmarks.files import BenchmarkRow
from mutual_taught.evaluation.benchmarks.pairs import lengths_as_scores, measured
from mutual_taught.method.statistics import Floats, bootstrap

HUB = None
EXPECTED = (
    "rows of prompt (text) or messages (turns), responses (at least two texts), labels (a number "
    "of each, higher is better) and, if you like, subset and id"
)


def read(paths: Sequence[Path]) -> Items:
    """Read prompts with responses; a row without an `id` is called by its file and number.

    Raises:
        InputError: see `files.parsed`; or an id occurs twice.
    """
    items = files.parsed(paths, _item, EXPECTED)
    files.require_distinct([item.item_id for item in items], paths)
    return items


def _item(row: BenchmarkRow) -> Item:
    messages = files.prompt(row, "messages", "prompt")
    responses = files.texts(row, "responses", 2)
    labels = files.numbers(row, "labels", len(responses))
    if len(set(labels)) == 1:
        raise files.BadRowError(f"labels are all {labels[0]:g}; expected a better and a worse one")
    return Item(files.name(row), files.subset(row), messages, responses, labels)


def best_share(rewards: Floats, labels: Floats) -> float:
    """Tell how often the response of the highest reward is one of the best label.

    Of several with the highest reward one is taken at random: the share of them that is best.
    Responses without a reward are never taken; where none has one, the item is an error.

    Args:
        rewards: of one item, NaN where there is none, shape (responses,).
        labels: likewise; the higher the better.

    Returns:
        A share in [0, 1].
    """
    if np.isnan(rewards).all():
        return 0.0
    taken = rewards == np.nanmax(rewards)
    return float((labels[taken] == labels.max()).mean())


def label_taken(rewards: Floats, labels: Floats) -> float:
    """Give the mean label of the responses of the highest reward.

    Where none has a reward, nothing can be taken: it is the lowest label.
    """
    if np.isnan(rewards).all():
        return float(labels.min())
    return float(labels[rewards == np.nanmax(rewards)].mean())


def metrics(items: Items, scores: Scores) -> Metrics:
    """Give how often the best is taken, what the taken one is worth, and what chance would give.

    `pairs.` is what is said of all pairs of responses whose labels differ, and a
    length scorer is one that takes the longest.
    """
    rewards = rewards_of(scores)
    labels = [np.array(item.labels, np.float64) for item in items]
    found = bootstrap(np.array(_values(items, scores)), SEED, groups_of(items))
    lengths = lengths_as_scores(items)
    return {
        "accuracy": found.mean,
        "ci_lo": found.ci_lo,
        "ci_hi": found.ci_hi,
        "n": float(len(items)),
        "prompts": float(found.n),
        "unscored": float(sum(np.isnan(one).sum() for one in rewards)),
        "label": _worth(items, scores),
        "label_best": float(np.mean([one.max() for one in labels])),
        "label_chance": float(np.mean([one.mean() for one in labels])),
        "accuracy_chance": float(np.mean([(one == one.max()).mean() for one in labels])),
        "length_scorer": float(np.mean(_values(items, lengths))),
        "label_length_scorer": _worth(items, lengths),
        **{f"pairs.{name}": value for name, value in measured(items, scores).items()},
    }


def _worth(items: Items, scores: Scores) -> float:
    """Give the mean label of what is taken."""
    labels = [np.array(item.labels, np.float64) for item in items]
    both = zip(rewards_of(scores), labels, strict=True)
    return float(np.mean([label_taken(*one) for one in both]))


def records(items: Items, scores: Scores) -> pa.Table:
    """Say of each item how often the best response is taken."""
    return record_table(items, scores, _values(items, scores))


def _values(items: Items, scores: Scores) -> list[float]:
    labels = [np.array(item.labels, np.float64) for item in items]
    return [best_share(*both) for both in zip(rewards_of(scores), labels, strict=True)]
