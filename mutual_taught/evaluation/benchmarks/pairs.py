"""What is said of every accuracy on pairs: how sure, how calibrated, how much of it is length."""

from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mutual_taught.evaluation.benchmarks.base import (
    SEED,
    Compared,
    Items,
    Metrics,
    Scores,
    compared,
    record_table,
    rewards_of,
)
from mutual_taught.method.reward_quality import calibration_error, spearman
from mutual_taught.method.statistics import Floats, pair_accuracy, ranked_right


class Responses(NamedTuple):
    """Every response once, shape (responses,) each: its reward, NaN without one, its length."""

    rewards: Floats
    lengths: NDArray[np.int64]


def responses(items: Items, scores: Scores) -> Responses:
    """Lay out all responses of all items; lengths are in characters."""
    rewards = [np.empty(0), *rewards_of(scores)]
    lengths = [len(response) for item in items for response in item.responses]
    return Responses(np.concatenate(rewards), np.array(lengths, np.int64))


def lengths_as_scores(items: Items) -> Scores:
    """Score every response by its length in characters, as a model would that likes only length."""
    return [[float(len(response)) for response in item.responses] for item in items]


def shares(items: Items, scores: Scores) -> Floats:
    """Give the share of each item's comparisons that is ranked right, shape (items,).

    A tie is an error. An item without a comparison has 0.
    """
    pairs = compared(items, scores)
    right = ranked_right(pairs.reward_chosen, pairs.reward_rejected)
    counts = np.bincount(pairs.item, minlength=len(items))
    return np.asarray(np.bincount(pairs.item, right, len(items)) / np.maximum(counts, 1))


def share_table(items: Items, scores: Scores) -> pa.Table:
    """Say of each item the share of its comparisons that is ranked right, as `record_table`."""
    return record_table(items, scores, shares(items, scores).tolist())


def measured(items: Items, scores: Scores) -> Metrics:
    """Describe a reward model on the comparisons of some items: see `describe`."""
    return describe(compared(items, scores), responses(items, scores))


def describe(pairs: Compared, texts: Responses) -> Metrics:
    """Describe how a reward model ranks pairs whose better side is known.

    Right is only the chosen response's reward above the other's: a tie is an error, and so is a
    pair of which a side has no reward.

    Args:
        pairs: rewards, lengths and prompts, shape (pairs,) each.
        texts: every response once, for the correlation of reward and length.

    Returns:
        `accuracy` with `ci_lo` and `ci_hi` over `prompts` prompts; `n` pairs, of which `ties` and
        `unscored` are errors; over the pairs with two rewards `log_loss` of sigmoid(margin), mean
        `margin`, `ece`, the calibration error; `spearman` of reward and length; accuracy and
        number of pairs whose chosen response is longer, or shorter; `length_scorer`, the accuracy
        of lengths in place of rewards. None where there is nothing to take a number of.
    """
    found = pair_accuracy(pairs.reward_chosen, pairs.reward_rejected, SEED, pairs.group)
    accuracy = found.accuracy
    return {
        "accuracy": number(accuracy.mean),
        "ci_lo": number(accuracy.ci_lo),
        "ci_hi": number(accuracy.ci_hi),
        "n": float(len(pairs.group)),
        "prompts": float(accuracy.n),
        "ties": float(found.ties),
        "unscored": float(found.unscored),
        "log_loss": number(found.log_loss),
        "margin": number(found.margin),
        "ece": number(calibration_error(pairs.reward_chosen - pairs.reward_rejected)),
        "spearman": number(spearman(texts.rewards, texts.lengths)),
        **_by_length(pairs),
    }


def _by_length(pairs: Compared) -> Metrics:
    """Part the accuracy by which side is longer; pairs of equal length are in neither part."""
    right = ranked_right(pairs.reward_chosen, pairs.reward_rejected)
    gap = pairs.length_chosen - pairs.length_rejected
    longer, shorter = right[gap > 0], right[gap < 0]
    return {
        "accuracy_chosen_longer": number(_mean(longer)),
        "n_chosen_longer": float(len(longer)),
        "accuracy_chosen_shorter": number(_mean(shorter)),
        "n_chosen_shorter": float(len(shorter)),
        "length_scorer": number(_mean((gap > 0).astype(np.float64))),
    }


def number(value: float) -> float | None:
    """Give a number as JSON has it: NaN is null."""
    return None if np.isnan(value) else float(value)


def _mean(values: Floats) -> float:
    return float(values.mean()) if values.size else float("nan")
