"""Weights of pairs on tables: fitted on duels that gold decides, written beside the pairs."""

import math
from pathlib import Path

import pyarrow as pa
import pytest

from mutual_taught.artifacts import tables
from mutual_taught.errors import InputError
from mutual_taught.method.calibration import Calibration
from mutual_taught.steps import build_pairs, weights
from tests.steps.test_build_pairs import NO_PAIR, pairs, pseudo, ranked_and_responses, seed_pairs
from tests.steps.test_build_pairs import settings as build_settings

SELECTION = Path("the selection split")


def prompts(*names: str) -> pa.Table:
    rows = [
        {
            "prompt_id": name,
            "messages": [{"role": "user", "content": name}],
            "split": "selection",
            "source": "embedded",
            "instruction_ids": ["punctuation:no_comma"],
            "instruction_kwargs": ["{}"],
            "chosen": None,
            "rejected": None,
        }
        for name in names
    ]
    return pa.Table.from_pylist(rows, tables.PROMPTS.schema)


def duels(*rows: tuple[str, str, str, float | None, float | None]) -> pa.Table:
    """Duels: prompt, both responses, both rewards."""
    names = ("prompt_id", "response", "previous_response", "reward", "previous_reward")
    types = (tables.TEXT, tables.TEXT, tables.TEXT, tables.NUMBER, tables.NUMBER)
    columns = zip(*rows, strict=True)
    return pa.table([pa.array(col, kind) for col, kind in zip(columns, types, strict=True)], names)


def test_duels_that_gold_decides_are_what_is_fitted_on() -> None:
    fought = duels(
        ("a", "no comma", "one, comma", 2.0, 1.0),  # margin 1, better
        ("b", "one, comma", "no comma", 0.0, 1.0),  # margin -1, worse
        ("c", "no comma", "none either", 9.0, 1.0),  # gold says nothing
        ("d", "no comma", "one, comma", None, 1.0),  # no margin
    )
    found = weights.calibrate(fought, prompts("a", "b", "c", "d"), SELECTION)
    # n1 = n0 = 1: targets 2/3 and 1/3, whose logits are log 2 and -log 2
    assert found == Calibration(0.0, round(math.log(2), 6), -1.0, 1.0, 2)


def test_prompts_without_instructions_are_one_line(tmp_path: Path) -> None:
    bare = prompts("a", "b").to_pylist()
    bare[1] |= {"instruction_ids": [], "instruction_kwargs": []}
    table = tables.split("selection")
    place = tables.write(tmp_path, table, pa.Table.from_pylist(bare, table.schema), {})
    fought = tmp_path / "duels.parquet"
    tables.write(tmp_path, tables.DUELS, tables.DUELS.schema.empty_table(), {}, active=False)
    with pytest.raises(InputError) as caught:
        weights.read(fought, place)
    assert str(caught.value) == (
        "params.yaml: build_pairs.weights is calibrated, and 1 of 2 prompts of the split selection "
        "have no instructions; expected some for each, which a program can check; change it, or "
        "give the prompts instructions (docs/data.md)"
    )


def test_pseudo_pairs_weigh_what_their_margin_says_and_all_others_1() -> None:
    ranked, responses = ranked_and_responses()
    calibration = Calibration(0.0, math.log(2), -1.0, 1.0, 8)
    sources = build_pairs.Sources(
        ranked, responses, pseudo()[0], NO_PAIR, seed_pairs(1), calibration
    )
    settings = build_settings(weights="calibrated", seed_preferences=1.0)
    mixed = build_pairs.combine(sources, 1, settings, 1)
    # Margins 1 and -2; -2 counts as -1, the lowest that was seen: 2/3 and 1/3.
    found = list(zip(mixed["kind"].to_pylist(), mixed["weight"].to_pylist(), strict=True))
    assert found == [
        ("ranked", 1.0),
        ("pseudo", pytest.approx(2 / 3, abs=1e-6)),
        ("pseudo", pytest.approx(1 / 3, abs=1e-6)),
        ("seed", 1.0),
    ]
    told = build_pairs.metrics(*pseudo(), mixed, calibration)
    assert told["weight_mean"] == pytest.approx(0.5, abs=1e-6)
    assert (told["weighed_by_gold"], told["calibration_pairs"]) == (1.0, 8.0)


def test_pairs_that_are_carried_on_keep_their_weights() -> None:
    calibration = Calibration(0.0, 0.0, 0.0, 0.0, 0)
    old = weights.weigh(pairs(("a", "x", "y")), pa.array([0.25]).to_numpy())
    one = build_pairs.mix({"pseudo": old}, NO_PAIR.append_column("weight", pa.array([], "f8")), 1)
    ranked, responses = ranked_and_responses()
    sources = build_pairs.Sources(ranked, responses, pseudo()[0], one, seed_pairs(1), calibration)
    settings = build_settings(weights="calibrated", accumulate="all", ranked=False)
    mixed = build_pairs.combine(sources, 2, settings, 1)
    assert mixed["weight"].to_pylist() == [0.5, 0.5, 0.25]
    assert mixed["iteration"].to_pylist() == [2, 2, 1]


def test_mix_has_no_column_of_weights_where_all_count_alike(tmp_path: Path) -> None:
    ranked, responses = ranked_and_responses()
    sources = build_pairs.Sources(ranked, responses, pseudo()[0], NO_PAIR, seed_pairs(1))
    mixed = build_pairs.combine(sources, 1, build_settings(), 1)
    path = tables.write(tmp_path, tables.REWARD_PAIRS, mixed, {})
    assert tables.read(path, tables.REWARD_PAIRS).column_names == list(tables.REWARD_PAIRS.columns)
