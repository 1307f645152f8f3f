"""Seed preferences with fewer pairs, turned pairs, and a length that decides."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from mutual_taught.artifacts import tables
from mutual_taught.errors import InputError
from study import preferences
from study.plan import Preferences

LONGER = np.array([True, True, True, False, False])
ORDER = np.array([5, 1, 3, 2, 4])
FILE = Path("file")
TABLE = tables.renamed(tables.GOLD_PAIRS, "seed_preferences")


def test_pairs_of_the_lowest_keys_are_drawn() -> None:
    drawn = preferences.draw(LONGER, ORDER, Preferences(pairs=2), FILE)
    assert drawn.tolist() == [1, 3]  # keys 1 and 2


def test_share_of_longer_ones_is_drawn_from_each_kind() -> None:
    # 0.75 of 4 are 3 longer ones, all there are; of the others the lower key is 2, in row 3.
    drawn = preferences.draw(LONGER, ORDER, Preferences(pairs=4, longer=0.75), FILE)
    assert drawn.tolist() == [0, 1, 2, 3]
    # Without a number, as many as both kinds allow: 2 others are half of 4.
    half = preferences.draw(LONGER, ORDER, Preferences(longer=0.5), FILE)
    assert half.tolist() == [1, 2, 3, 4]


def test_too_few_pairs_are_refused_in_one_line() -> None:
    with pytest.raises(InputError, match="2 pairs to draw 3 from; expected as many at least"):
        preferences.draw(LONGER, ORDER, Preferences(pairs=3, longer=0.0), FILE)


def seed_preferences(folder: Path) -> Path:
    rows = [
        {
            "prompt_id": f"{index * 7:02x}" * 16,
            "messages": [{"role": "user", "content": f"question {index}"}],
            "chosen": f"better {index}",
            "rejected": f"bad {index}",
            "gold_chosen": 1.0,
            "gold_rejected": 0.0,
            "part": "train" if index < 10 else "heldout",
        }
        for index in range(12)
    ]
    return tables.write(folder, TABLE, pa.Table.from_pylist(rows, TABLE.schema), {})


def test_noise_turns_so_many_pairs_and_leaves_the_held_out(tmp_path: Path) -> None:
    place = seed_preferences(tmp_path)
    preferences.change(Preferences(pairs=10, noise=0.3), place, 1)
    found = tables.read(place, TABLE)
    turned = found.filter(pc.equal(found["gold_chosen"], 0.0))
    assert len(found) == 12
    assert len(turned) == 3  # 0.3 of 10
    assert all(text.startswith("bad") for text in turned["chosen"].to_pylist())
    assert turned["part"].to_pylist() == ["train"] * 3


def test_another_seed_draws_other_pairs(tmp_path: Path) -> None:
    drawn = []
    for seed in (1, 2):
        place = seed_preferences(tmp_path)
        preferences.change(Preferences(pairs=4), place, seed)
        drawn.append(tables.read(place, TABLE)["prompt_id"].to_pylist())
    assert drawn[0] != drawn[1]
    assert len(drawn[0]) == 4 + 2  # and the held-out ones
