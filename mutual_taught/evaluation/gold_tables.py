"""Gold of responses on tables, where it judges or labels inside the loop."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mutual_taught.artifacts import joins
from mutual_taught.errors import InputError
from mutual_taught.evaluation.gold import gold

INSTRUCTIONS = ["prompt_id", "instruction_ids", "instruction_kwargs"]


class Golds(NamedTuple):
    """Gold of two responses to each of some prompts, in [0, 1], shape (responses,) each."""

    own: NDArray[np.float64]
    previous: NDArray[np.float64]


def of_both(responses: pa.Table, prompts: pa.Table, path: Path) -> Golds:
    """Let programs say how well both responses of each row follow their prompt's instructions.

    Args:
        responses: `prompt_id`, `response` and `previous_response`.
        prompts: table `prompts`, with the instructions of each.
        path: where the prompts were read from, for messages.

    Returns:
        Gold in the order of the rows.

    Raises:
        InputError: a prompt is not there, or has no instructions.
    """
    ids = responses["prompt_id"].to_pylist()
    asked = joins.align(prompts, ids, path).select(INSTRUCTIONS).to_pylist()
    known: dict[tuple[str, str], float] = {}  # pi_{t-1}'s response stands beside each candidate

    def of_column(name: str) -> NDArray[np.float64]:
        for row, text in zip(asked, responses[name].to_pylist(), strict=True):
            if (key := (row["prompt_id"], text)) not in known:
                known[key] = gold(text, row["instruction_ids"], row["instruction_kwargs"])
        texts = zip(ids, responses[name].to_pylist(), strict=True)
        return np.array([known[key] for key in texts], np.float64)

    return Golds(of_column("response"), of_column("previous_response"))


def require_verifiable(prompts: pa.Table, split: str, said: str) -> None:
    """Refuse prompts without instructions where programs are to judge or label.

    Args:
        prompts: table `prompts` of a split.
        split: its name.
        said: which parameter asks for it, such as `build_pairs.labels is verifiable`.

    Raises:
        InputError: some prompt has no instructions.
    """
    bare = int(pc.sum(pc.equal(pc.list_value_length(prompts["instruction_ids"]), 0)).as_py() or 0)
    if bare:
        raise InputError(
            f"params.yaml: {said}, and {bare} of {len(prompts)} prompts of the split "
            f"{split} have no instructions; expected some for each, which a program can check; "
            "change it, or give the prompts instructions (docs/data.md)"
        )
