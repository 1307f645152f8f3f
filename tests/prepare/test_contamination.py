"""No prompt is both trained and measured on, whatever ids and white space its files have."""

import pyarrow as pa
import pytest

from mutual_taught.artifacts import tables
from mutual_taught.errors import InputError
from mutual_taught.prepare.contamination import HELD_OUT, TRAIN, require_run_clean

Source = tuple[str, pa.Table]


def prompts(*texts: str) -> pa.Table:
    rows = [[{"role": "user", "content": text}] for text in texts]
    return pa.table({"messages": pa.array(rows, tables.MESSAGES)})


def pairs(*texts: str, part: str) -> Source:
    table = prompts(*texts)
    return "data/pairs.parquet", table.append_column("part", pa.array([part] * len(table)))


def refusal(splits: dict[str, pa.Table], seeds: Source, gold: Source) -> str | None:
    try:
        require_run_clean(splits, seeds, gold)
    except InputError as refused:
        return str(refused)
    return None


SPLITS = {name: prompts(name) for name in ("policy", "reward", "selection", "eval")}
SEEDS, GOLD = pairs("seed", part=TRAIN), pairs("gold", part=HELD_OUT)


def test_sources_without_a_common_prompt_are_clean() -> None:
    assert refusal(SPLITS, SEEDS, GOLD) is None


@pytest.mark.parametrize("other", ["reward", "selection", "eval", "gold"])
def test_given_preferences_share_no_prompt_with_what_is_compared_or_measured(other: str) -> None:
    splits = {**SPLITS, "policy": prompts("fine", f" {other}\n")}
    place = f"split {other}" if other in SPLITS else "data/pairs.parquet, part heldout"
    with pytest.raises(InputError, match=f"split policy: 1 of 2 prompts are also in .*{place}"):
        require_run_clean(splits, SEEDS, GOLD)


@pytest.mark.parametrize("text", ["eval", "e\u0301val  x", "gold"])
def test_seed_preferences_share_no_prompt_with_what_is_measured(text: str) -> None:
    splits = {**SPLITS, "eval": prompts("eval", "\u00e9val x")}  # the same in NFC
    with pytest.raises(InputError, match=r"pairs\.parquet, part train: 1 of 1 prompts are also in"):
        require_run_clean(splits, pairs(text, part=TRAIN), GOLD)


def test_only_the_part_that_is_used_counts() -> None:
    learnt, measured = pairs("eval", part=HELD_OUT), pairs("reward", part=TRAIN)
    assert refusal(SPLITS, learnt, measured) is None
    assert refusal(SPLITS, pairs("eval", part=TRAIN), measured)
