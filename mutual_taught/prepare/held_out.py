"""The pairs that reward models are measured on: from a file, or from a part of the hub's data set.

No model is trained on their prompts.
"""

from collections import Counter
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from mutual_taught.artifacts.schemas import GOLD_PAIRS
from mutual_taught.config.blocks import SUBSET
from mutual_taught.config.inputs import Columns, Data
from mutual_taught.errors import InputError
from mutual_taught.prepare import sources
from mutual_taught.prepare.contamination import HELD_OUT
from mutual_taught.prepare.conversations import Prompt
from mutual_taught.prepare.sources import Screen

TRAINED_ON = "trained_on"  # a prompt that is in the policy, the reward or the selection split
RESPONSES = ("chosen", "rejected")  # columns of a data set's preferences where params name none


class HeldOut(NamedTuple):
    """Pairs, rows of `gold_pairs`, and how many rows of their source are none, by reason."""

    pairs: pa.Table
    dropped: Mapping[str, int]


def read(named: str | None, data: Data, screen: Screen, trained: Collection[str]) -> HeldOut:
    """Read the pairs that `eval.gold_pairs` names.

    Args:
        named: a file, `subset:` and the name of another subset of `data.path`, or None.
        data: where prompts come from.
        screen: says why the models cannot read a pair; empty if they can.
        trained: ids of the prompts that models are trained on or selected by. A subset's pairs of
            such prompts are left out; a file's are refused later.

    Raises:
        InputError: the file or the subset cannot be read, or holds no pair that is fit.
    """
    if named is None or not named.startswith(SUBSET):
        return HeldOut(sources.gold_pairs(None if named is None else Path(named)), {})
    asked = of_subset(named, data)
    found = sources.read_subset(asked, screen)
    kept = [prompt for prompt in found.kept.values() if prompt.prompt_id not in trained]
    dropped = Counter(row.reason for row in found.dropped)
    dropped.update([TRAINED_ON] * (len(found.kept) - len(kept)))
    if not kept:
        raise InputError(
            f"params.yaml: eval.gold_pairs is {named!r}; none of {found.rows} rows of "
            f"{data.path!r} there is a pair that can be measured on "
            f"({', '.join(f'{count} {reason}' for reason, count in sorted(dropped.items()))}); "
            "expected at least one; name another subset, or null"
        )
    rows = [_row(prompt) for prompt in kept]
    return HeldOut(pa.Table.from_pylist(rows, GOLD_PAIRS.schema), dict(sorted(dropped.items())))


def of_subset(named: str, data: Data) -> Data:
    """Describe a subset of preferences beside the prompts of `data`: the same commit and columns.

    Where params name no columns of responses, they are `chosen` and `rejected`.
    """
    columns = data.columns
    chosen, rejected = (getattr(columns, name) or name for name in RESPONSES)
    answered = Columns(
        messages=columns.messages, prompt=columns.prompt, chosen=chosen, rejected=rejected
    )
    subset = named.removeprefix(SUBSET)
    return data.model_copy(update={"subset": subset, "columns": answered})


def _row(prompt: Prompt) -> dict[str, object]:
    """Lay out a pair: all that is known of its gold is which side is better."""
    return {
        "prompt_id": prompt.prompt_id,
        "messages": prompt.messages,
        "chosen": prompt.chosen,
        "rejected": prompt.rejected,
        "gold_chosen": 1.0,
        "gold_rejected": 0.0,
        "part": HELD_OUT,
    }


def provenance(named: str | None, data: Data, dropped: Mapping[str, int]) -> dict[str, object]:
    """Name what decides the pairs of a subset, and what was left out; a file says that itself."""
    if named is None or not named.startswith(SUBSET):
        return {}
    return {"subset": subset_of(named, data), "dropped": dict(dropped)}


def subset_of(named: str, data: Data) -> dict[str, object]:
    """Name a subset: data set, commit, name and columns."""
    asked = of_subset(named, data)
    return {
        "path": asked.path,
        "revision": asked.revision,
        "subset": asked.subset,
        "columns": asked.columns.model_dump(),
    }


def counts(dropped: Mapping[str, int]) -> dict[str, float]:
    """Count the rows of a subset that are no pairs, as metrics."""
    return {f"gold_pairs_dropped_{reason}": float(count) for reason, count in dropped.items()}
