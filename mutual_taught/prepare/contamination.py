"""No prompt that a model is trained on is one that models are measured on."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from mutual_taught.errors import InputError
from mutual_taught.keys import prompt_ids

TRAIN, HELD_OUT = "train", "heldout"  # parts of a table gold_pairs
SHOWN = 60


class Source(NamedTuple):
    """Prompts, and what they are called, such as `data/seed_preferences.parquet, part train`."""

    name: str
    prompts: pa.Table


def part(name: str, pairs: pa.Table, wanted: str) -> Source:
    """Take the prompts of one part of a table gold_pairs."""
    return Source(f"{name}, part {wanted}", pairs.filter(pc.equal(pairs["part"], wanted)))


def require_clean(training: Sequence[Source], measuring: Sequence[Source]) -> None:
    """Refuse a prompt that both a training source and a measuring one have.

    Prompts are the same if the texts of their turns are, in NFC and with every run of white space
    as one space, whatever ids their files give them.

    Args:
        training: tables with `messages`, whose prompts models are trained on.
        measuring: likewise, whose prompts models are compared or measured on.

    Raises:
        InputError: naming both sources, how many prompts they share, and how one begins.
    """
    known = {source.name: set(_ids(source.prompts)) for source in measuring}
    for source in training:
        ids = _ids(source.prompts)
        for name, theirs in known.items():
            if shared := [row for row, prompt in enumerate(ids) if prompt in theirs]:
                said = source.prompts["messages"][shared[0]].as_py()[-1]["content"]
                raise InputError(
                    f"{source.name}: {len(shared)} of {len(ids)} prompts are also in {name}, such "
                    f"as {said[:SHOWN]!r}; expected none, because models are trained on the one "
                    "and measured on the other; remove them from either"
                )


def require_run_clean(
    splits: Mapping[str, pa.Table], seeds: tuple[str, pa.Table], gold: tuple[str, pa.Table]
) -> None:
    """Refuse a run that trains a model on what it measures models on: see `require_clean`.

    Args:
        splits: tables of prompts by the names of their splits; `policy` is all of its parts.
        seeds: name and rows of the preferences that r_0 is trained on; no row if it comes trained.
        gold: name and rows of the pairs that reward models are measured on; no row without them.
    """
    own = {name: Source(f"data: split {name}", rows) for name, rows in splits.items()}
    held_out = [own["eval"], part(*gold, HELD_OUT)]
    require_clean([own["policy"]], [own["reward"], own["selection"], *held_out])
    require_clean([own["reward"], own["selection"], part(*seeds, TRAIN)], held_out)


def _ids(prompts: pa.Table) -> list[str]:
    return prompt_ids(prompts["messages"].combine_chunks()) if len(prompts) else []
