"""Both models before and after: each number at the start and now, and the paired difference."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mutual_taught.evaluation.intervals import where
from mutual_taught.method.statistics import (
    RARE,
    Floats,
    Interval,
    bootstrap,
    ranked_right,
    sign_flip_p,
)
from mutual_taught.report.past import History, entries
from mutual_taught.report.summary import final_iteration


class Change(NamedTuple):
    """A number before and after, with its intervals.

    `difference` is paired: over the same responses or pairs, and its interval resamples prompts, as
    those of both sides do. `p` flips the signs of whole prompts. `unit` is what `digits` show.
    """

    name: str
    before: Interval
    after: Interval
    difference: Interval
    p: float
    digits: int = 3

    @property
    def clear(self) -> bool:
        """Whether the interval of the difference leaves out 0, and p is below 0.05.

        Of very few prompts the interval is too narrow: of one it is a point.
        """
        beside = self.difference.ci_lo > 0 or self.difference.ci_hi < 0
        return beside and self.p < RARE


POLICY = (
    ("gold", "gold", 3),
    ("all instructions followed", "passed", 3),
    ("mean reward, r_0", "reward_r0", 3),
    ("length, tokens", "length_tokens", 1),
)
REWARD_MODEL = (("right on gold pairs", "gold_pairs"), ("right on own samples", "own_samples"))


def paired(
    name: str, before: Floats, after: Floats, prompts: NDArray[np.str_], seed: int
) -> Change:
    """Compare two numbers of the same units, pair by pair.

    Args:
        name: what is compared.
        before: one number a unit, shape (units,).
        after: the same units.
        prompts: the prompt of each unit, shape (units,): all units of one move together.
        seed: of the resampling and of the sign flips.

    Returns:
        The change; p is of the mean difference a prompt.
    """
    groups = np.unique(prompts, return_inverse=True)[1].astype(np.int64)
    apart = after - before
    per_prompt = np.bincount(groups, apart) / np.bincount(groups)
    was, now, between = (bootstrap(values, seed, groups) for values in (before, after, apart))
    return Change(name, was, now, between, sign_flip_p(per_prompt, seed))


def policy(history: History, seed: int) -> list[Change]:
    """Compare the last policy's responses with pi_0's, drawn with the same seeds.

    A number is over the responses that have it on both sides; one that no response has is left out.

    Args:
        history: iterations 0 to t; with only 0 there is nothing to compare.
        seed: of the intervals.
    """
    base, last = history[0].generations, history[-1].generations
    if len(history) < 2 or base is None or last is None:
        return []
    return responses([(base, last)], seed)


def responses(pairs: Sequence[tuple[pa.Table, pa.Table]], seed: int) -> list[Change]:
    """Compare responses with those of others to the same prompts: gold, reward, length.

    Args:
        pairs: tables `generations` before and after, such as a pair for each seed. Responses are
            joined by prompt and index, and all of a prompt are resampled together.
        seed: of the intervals.

    Returns:
        Changes over the responses that have the number on both sides; none of a number that none
        has.
    """
    if not pairs:
        return []
    both = pa.concat_tables([_joined(before, after) for before, after in pairs])
    found = []
    for name, column, digits in POLICY:
        before, after = (_numbers(both[f"{column}_{side}"]) for side in ("before", "after"))
        known = ~(np.isnan(before) | np.isnan(after))
        if known.any():
            prompts = _texts(both["prompt_id"])[known]
            change = paired(name, before[known], after[known], prompts, seed)
            found.append(change._replace(digits=digits))
    return found


def _joined(base: pa.Table, last: pa.Table) -> pa.Table:
    keys, columns = ["prompt_id", "response_index"], [column for _, column, _ in POLICY]
    sides = [
        table.select(keys + columns).rename_columns(keys + [f"{c}_{side}" for c in columns])
        for table, side in ((base, "before"), (last, "after"))
    ]
    joined = sides[0].join(sides[1], keys, join_type="inner")
    return joined.sort_by([(key, "ascending") for key in keys])


def reward_model(history: History, seed: int) -> list[Change]:
    """Compare r_t with r_0 on the same pairs: how often each is right.

    Args:
        history: iterations 0 to t.
        seed: of the intervals.
    """
    scores = history[-1].rm_scores
    if len(history) < 2 or scores is None:
        return []
    return [
        change
        for name, kind in REWARD_MODEL
        if (change := _right(name, where(scores, set=kind), seed))
    ]


def _right(name: str, scores: pa.Table, seed: int) -> Change | None:
    order = [("prompt_id", "ascending"), ("pair_id", "ascending")]
    base, own = (where(scores, reward_model=model).sort_by(order) for model in ("r0", "rt"))
    if not len(own) or not base["pair_id"].equals(own["pair_id"]):
        return None
    before, after = (
        ranked_right(_numbers(part["reward_chosen"]), _numbers(part["reward_rejected"]))
        for part in (base, own)
    )
    return paired(name, before, after, _texts(own["prompt_id"]), seed)


def _numbers(column: pa.ChunkedArray) -> Floats:
    return np.asarray(column.cast(pa.float64()).to_numpy(), np.float64)


def _texts(column: pa.ChunkedArray) -> NDArray[np.str_]:
    return column.to_numpy(zero_copy_only=False).astype(str)  # type: ignore[no-any-return]


def final(history: History) -> int:
    """Find the iteration whose models are the last ones."""
    return final_iteration(entries(history))
