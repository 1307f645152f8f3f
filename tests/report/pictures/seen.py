"""An iteration of a few rows, from which each picture's rows follow by hand."""

from collections.abc import Mapping, Sequence

import pyarrow as pa

from mutual_taught.artifacts import tables
from mutual_taught.report.past import Past
from mutual_taught.report.pictures.rows import Seen


def table(kind: tables.Table, **columns: Sequence[object]) -> pa.Table:
    """Make a table of a few columns; no picture reads the others."""
    return pa.table({name: pa.array(values, kind.kinds[name]) for name, values in columns.items()})


GENERATIONS = table(
    tables.GENERATIONS,
    prompt_id=["a", "a", "b", "b"],
    length_tokens=[10, 20, 30, 40],
    gold=[0.0, 0.5, 1.0, 1.0],
    reward_r0=[-1.0, 0.0, 1.0, 2.0],
    reward_rt=[-2.0, 0.0, 2.0, None],
)
INSTRUCTIONS = table(
    tables.PROMPTS,
    prompt_id=["a", "b"],
    instruction_ids=[["punctuation:no_comma"], ["punctuation:no_comma", "startend:quotation"]],
)
RM_SCORES = table(
    tables.RM_SCORES,
    set=["own_samples"] * 4 + ["gold_pairs"],
    pair_id=["p", "q", "p", "q", "g"],
    prompt_id=["a", "b", "a", "b", "a"],
    reward_model=["r0", "r0", "rt", "rt", "rt"],
    reward_chosen=[1.0, 2.0, 0.0, 2.0, 5.0],
    reward_rejected=[0.0, 1.0, 1.0, None, 0.0],
)


def seen(
    iteration: int = 1,
    metrics: Mapping[str, Mapping[str, float]] | None = None,
    **found: pa.Table,
) -> Seen:
    """Make an iteration of the tables above and of what else is given."""
    given = {
        "generations": GENERATIONS,
        "rm_scores": RM_SCORES,
        "instructions": INSTRUCTIONS,
        **found,
    }
    return Seen(Past(iteration, metrics or {"eval": {"active": 1.0}}, **given), 1, 0.6)
