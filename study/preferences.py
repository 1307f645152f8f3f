"""What r_0 learns from, changed: fewer pairs, turned ones, a length that decides."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mutual_taught.artifacts import tables
from mutual_taught.artifacts.table import MadeFrom
from mutual_taught.errors import InputError
from mutual_taught.keys import sampling_seeds
from study.plan import ROOT, Preferences

TRAIN = "train"
MADE_FROM = MadeFrom(("listed",), ("settings", "seed"))


def change(settings: Preferences, place: Path, seed: int) -> None:
    """Write seed preferences whose part `train` is changed; the held-out part stays.

    Args:
        settings: the change.
        place: their file, which is read unless the settings name another, and written.
        seed: of the draws.

    Raises:
        InputError: there are too few pairs.
    """
    source = place if settings.path is None else ROOT / settings.path
    table = replace(tables.GOLD_PAIRS, name=place.stem, made_from=MADE_FROM)
    listed = tables.read(source, table)
    train = listed.filter(pc.equal(listed["part"], TRAIN))
    others = listed.filter(pc.not_equal(listed["part"], TRAIN))
    drawn = train.take(draw(longer(train), keys(train, seed, "drawn"), settings, source))
    turned = turn(drawn, keys(drawn, seed, "turned"), settings.noise)
    parts = [part.replace_schema_metadata() for part in (turned, others)]
    made_by = {"settings": settings.model_dump(), "seed": seed, **tables.digests(listed=listed)}
    tables.write(place.parent, table, pa.concat_tables(parts), made_by)


def keys(pairs: pa.Table, seed: int, what: str) -> NDArray[np.int64]:
    """Give every pair a random number of its own, by its prompt."""
    return sampling_seeds(seed, 0, f"study-{what}", pairs["prompt_id"], np.zeros(len(pairs), int))


def longer(pairs: pa.Table) -> NDArray[np.bool_]:
    """Tell of which pairs the chosen response has more characters than the rejected one."""
    sides = (pc.utf8_length(pairs[name]).to_numpy() for name in ("chosen", "rejected"))
    chosen, rejected = sides
    return np.asarray(chosen > rejected)


def draw(
    is_longer: NDArray[np.bool_], order: NDArray[np.int64], settings: Preferences, source: Path
) -> NDArray[np.int64]:
    """Choose pairs: those of the lowest keys, of each length so many as the share asks.

    Args:
        is_longer: whether a pair's chosen response is the longer one, shape (pairs,).
        order: a random key each, shape (pairs,).
        settings: how many pairs, and which share of longer ones.
        source: the file, for messages.

    Returns:
        Rows, ascending. Without `pairs` as many as there can be.

    Raises:
        InputError: there are too few.
    """
    share = settings.longer
    if share is None:
        groups = [(np.ones(len(is_longer), bool), settings.pairs or len(is_longer))]
    else:
        have = (int(is_longer.sum()), int((~is_longer).sum()))
        total = settings.pairs or _most(have, share)
        first = round(total * share)
        groups = [(is_longer, first), (~is_longer, total - first)]
    taken = []
    for mask, wanted in groups:
        rows = np.flatnonzero(mask)
        if len(rows) < wanted:
            raise InputError(
                f"{source}: {len(rows)} pairs to draw {wanted} from; expected as many at least; "
                "make more with mutual-taught seed-preferences, or ask for fewer"
            )
        taken.append(rows[np.argsort(order[rows], kind="stable")[:wanted]])
    return np.sort(np.concatenate(taken)).astype(np.int64)


def _most(have: tuple[int, int], share: float) -> int:
    """Count the pairs there can be with a share of the first kind."""
    limits = [count / part for count, part in zip(have, (share, 1 - share), strict=True) if part]
    return int(min(limits))


def turn(pairs: pa.Table, order: NDArray[np.int64], share: float) -> pa.Table:
    """Let chosen and rejected change places, with their gold, in a share of the pairs."""
    turned = np.zeros(len(pairs), bool)
    turned[np.argsort(order, kind="stable")[: round(len(pairs) * share)]] = True
    mask, found = pa.array(turned), pairs
    for name, other in (("chosen", "rejected"), ("gold_chosen", "gold_rejected")):
        for column, instead in ((name, other), (other, name)):
            place = found.column_names.index(column)
            values = pc.if_else(mask, pairs[instead], pairs[column])
            found = found.set_column(place, pairs.schema.field(column), values)
    return found
