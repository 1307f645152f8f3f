"""Benchmark `ppe`: PPE correctness, five sets of prompts with 32 responses that are right or wrong.

Source: Frick et al., 2024 (arXiv 2410.14872), sections on correctness.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from mutual_taught.errors import InputError
from mutual_taught.evaluation.benchmarks import composites, files, reading
from mutual_taught.evaluation.benchmarks.base import (
    Item,
    Items,
    Metrics,
    Scores,
    compared,
    rewards_of,
)
from mutual_taught.evaluation.benchmarks.files import BadRowError, BenchmarkRow
from mutual_taught.evaluation.benchmarks.pairs import lengths_as_scores, share_table
from mutual_taught.evaluation.benchmarks.resampling import Mean
from mutual_taught.method.statistics import Floats, ranked_right
from mutual_taught.terminal.signs import excerpt

HUB = None
EXPECTED = (
    "PPE's rows of question_id, prompt, response_1 to response_32, scores, sampled_conflict_pairs, "
    "in a file or folder called after its set: MMLU-Pro, MATH, GPQA, IFEval, MBPP-Plus "
    "(hub data sets lmarena-ai/PPE-MMLU-Pro-Best-of-K and so on, split train)"
)
records = share_table
SETS = ("MMLU-Pro", "MATH", "GPQA", "IFEval", "MBPP-Plus")


def read(paths: Sequence[Path]) -> Items:
    """Read the published rows of one or more sets.

    Raises:
        InputError: see `reading.read`; or prompts of a set have other numbers of responses.
    """
    items = reading.read(paths, _item, EXPECTED)
    for name in sorted({item.subset for item in items}):
        of = [item for item in items if item.subset == name]
        odd = next((item for item in of if len(item.responses) != len(of[0].responses)), None)
        if odd is not None:
            raise InputError(
                f"{', '.join(map(str, paths))}: {odd.item_id} has {len(odd.responses)} answers, "
                f"{of[0].item_id} has {len(of[0].responses)}; expected the same number in {name}"
            )
    return items


def _item(row: BenchmarkRow) -> Item:
    subset = _set(row.path)
    names = [f"response_{place}" for place in range(1, _responses(row) + 1)]
    responses = [reading.response(row, name) for name in names]
    labels = files.numbers(row, "scores", len(responses))
    listed = files.taken(row, "sampled_conflict_pairs")
    pairs = [_compared(pair, labels) for pair in (listed if isinstance(listed, list) else [listed])]
    # A question is asked of several models, each with responses of its own.
    name = f"{subset}:{files.taken(row, 'question_id')}:{row.values.get('model_name', '')}"
    return Item(name, subset, files.prompt(row, "prompt"), responses, labels, pairs)


def _set(path: Path) -> str:
    """Tell which set a file is of, by the nearest name on its path."""
    for part in reversed(path.absolute().parts):
        for name in SETS:
            if f"-{name.lower()}-" in f"-{part.lower().replace('.', '-').replace('_', '-')}-":
                return name
    raise InputError(
        f"{path}: its set is not in its name; expected a file or folder called after one of "
        f"{', '.join(SETS)}"
    )


def _responses(row: BenchmarkRow) -> int:
    """Count the responses of a row: the columns response_1, response_2 and so on."""
    count = sum(name.startswith("response_") for name in row.values)
    if count < 2:
        raise BadRowError(f"has {count} columns response_1, response_2 …; expected at least two")
    return count


def _compared(pair: object, labels: Sequence[float]) -> tuple[int, int]:
    """Read a pair of places, from 0; the first is to be the right response."""
    places = pair if isinstance(pair, list) and len(pair) == 2 else []
    inside = [type(place) is int and 0 <= place < len(labels) for place in places]
    if not inside or not all(inside):
        raise BadRowError(
            f"sampled_conflict_pairs has {excerpt(pair)}; expected two places below {len(labels)}"
        )
    a, b = places
    if labels[a] == labels[b]:
        raise BadRowError(f"sampled_conflict_pairs has {pair}; both have score {labels[a]:g}")
    return (a, b) if labels[a] > labels[b] else (b, a)


def best_of(rewards: Floats, labels: Floats) -> Floats:
    """Give the expected label of the response of the highest reward among k, for each k.

    Over all choices of k responses out of K: the one of rank i from below, from 0, is the highest
    with chance C(i, k - 1) / C(K, k). Responses of equal reward share their chances; one without a
    reward ranks below all.

    Args:
        rewards: of one item, NaN where there is none, shape (K,).
        labels: how right each response is, shape (K,).

    Returns:
        Shape (K,): k = 1 is the mean label, k = K that of the highest reward.
    """
    size = len(rewards)
    known = np.where(np.isnan(rewards), -np.inf, rewards)
    _, place, count = np.unique(known, return_inverse=True, return_counts=True)
    shared = (np.bincount(place, labels) / count)[place]  # a tie is won by each alike
    ranked = shared[np.argsort(known, kind="stable")]
    chances = [
        [math.comb(rank, k - 1) / math.comb(size, k) for rank in range(size)]
        for k in range(1, size + 1)
    ]
    return np.asarray(np.array(chances) @ ranked)


def curves(items: Items, scores: Scores) -> dict[str, Floats]:
    """Give each set's mean curve over its prompts: see `best_of`; shape (K,) each."""
    by_set: dict[str, list[Floats]] = {}
    for item, rewards in zip(items, rewards_of(scores), strict=True):
        labels = np.array(item.labels, np.float64)
        by_set.setdefault(item.subset, []).append(best_of(rewards, labels))
    return {name: np.mean(found, axis=0) for name, found in sorted(by_set.items())}


def curve_metrics(of_sets: Mapping[str, Floats]) -> Metrics:
    """Describe curves: the start, the highest point and where, the end, and what the end lost.

    A gap above 0 says that choosing among more responses by this reward made them worse.

    Returns:
        Of each set, `best_of_k.<set>.` with `start`, `max`, `max_k`, `end`, `gap`, and the curve at
        powers of two; and the plain means over the sets, where all five are there.
    """
    found: Metrics = {}
    for name, curve in of_sets.items():
        top = int(curve.argmax())
        known = {"start": curve[0], "max": curve[top], "max_k": top + 1, "end": curve[-1]}
        known["gap"] = curve[top] - curve[-1]
        known |= {f"k{2**p}": curve[2**p - 1] for p in range(len(curve).bit_length())}
        found |= {f"best_of_k.{name}.{key}": float(value) for key, value in known.items()}
    for key in ("start", "max", "end", "gap"):
        listed = [found.get(f"best_of_k.{name}.{key}") for name in SETS]
        there = [value for value in listed if value is not None]
        found[f"best_of_k.{key}"] = float(np.mean(there)) if len(there) == len(SETS) else None
    return found


def parts(items: Items, scores: Scores) -> Mapping[str, Mean]:
    """Give `score`, the plain mean of the five sets' accuracies on conflict pairs, and each."""
    pairs = compared(items, scores)
    right = ranked_right(pairs.reward_chosen, pairs.reward_rejected)
    found = composites.parts([items[place].subset for place in pairs.item], right, pairs.group)
    return {"score": composites.plain(found, SETS), **found}


def metrics(items: Items, scores: Scores) -> Metrics:
    """Give accuracies on conflict pairs, and what the best of k is worth."""
    lengths = lengths_as_scores(items)
    of_length = curve_metrics(curves(items, lengths))
    return {
        **composites.report(items, scores, parts),
        **curve_metrics(curves(items, scores)),
        "best_of_k.end_length_scorer": of_length["best_of_k.end"],
        "best_of_k.gap_length_scorer": of_length["best_of_k.gap"],
    }
