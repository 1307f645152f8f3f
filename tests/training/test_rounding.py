"""Exports: what rounding leaves of an update, and lots that are the same on every machine."""

import hashlib
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from mutual_taught.artifacts.manifests import read_manifest
from mutual_taught.config.learning import ExportDtype
from mutual_taught.errors import InputError
from mutual_taught.models.load import load_policy
from mutual_taught.training import jobs, rounding
from mutual_taught.training.dpo import dataset
from mutual_taught.training.export import update_metrics
from mutual_taught.training.rounding import Rounding, averaged, by_lot, kept, snapshot, stored
from mutual_taught.training.settings import Recipe
from tests.training.test_loop import DPO, PAIRS, TRAINING

STEP = 2**-7  # between 1 and 2, bfloat16's neighbours are so far apart


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_weight_a_quarter_of_the_way_goes_up_one_time_in_four(sign: float) -> None:
    count = 40_000
    found = by_lot(torch.full((count,), sign * (1 + STEP / 4)), "key").float() * sign
    assert set(found.tolist()) == {1.0, 1.0 + STEP}
    # Four standard deviations of a share of .25 among 40,000: 4 * sqrt(.25 * .75 / 40000) = .0087
    assert float((found > 1).float().mean()) == pytest.approx(0.25, abs=0.0087)


def test_a_weight_that_bfloat16_can_say_stays() -> None:
    weights = torch.tensor([0.0, -0.0, 1.0, -1.5, 2**-126, 3.0e38]).bfloat16().float()
    assert torch.equal(by_lot(weights.repeat(100), "k").float(), weights.repeat(100))


def test_the_lot_of_a_place_follows_from_the_key_and_the_place() -> None:
    lower = np.arange(0, 65536, 65536 // 12, dtype=np.uint32)[:12]
    bits = np.uint32(0x3F800000) + lower
    found = by_lot(torch.from_numpy(bits.view(np.float32).copy()), "1|step|name").float()
    key = int.from_bytes(hashlib.blake2b(b"1|step|name", digest_size=16).digest(), "big")
    words = [int(word) for word in np.random.Philox(key=key).random_raw(3)]
    for place in range(12):
        lot = (words[place // 4] >> (16 * (place % 4))) & 0xFFFF
        up = int(lower[place]) + lot >= 65536
        assert float(found[place]) == (1 + STEP if up else 1.0)


def test_lots_do_not_depend_on_how_many_are_drawn_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    weights = torch.randn(3, 37, generator=torch.Generator().manual_seed(1))
    whole = by_lot(weights, "k")
    monkeypatch.setattr(rounding, "CHUNK", 8)
    assert torch.equal(by_lot(weights, "k"), whole)
    assert not torch.equal(by_lot(weights, "other"), whole)


def test_average_of_two_models_by_hand() -> None:
    # 0.75 * (4, 8) + 0.25 * (8, -8) = (5, 4)
    one = {"w": torch.tensor([4.0, 8.0]), "seen": torch.tensor(3)}
    other = {"w": torch.tensor([8.0, -8.0]), "seen": torch.tensor(9)}
    found = averaged(one, other, 0.25)
    assert found["w"].tolist() == [5.0, 4.0]
    assert int(found["seen"]) == 3


def test_tied_weights_stay_one() -> None:
    weight = torch.randn(5, 7)
    weights = {"embed": weight, "head": weight.clone(), "other": torch.randn(5, 7)}
    made = stored(weights, Rounding("bfloat16_stochastic", "k"), {"head": "embed"})
    assert made["head"] is made["embed"]
    assert list(made) == list(weights)


def test_what_is_kept_by_hand() -> None:
    # u = (3, 4), e = (3, 0): u·e = 9, u·u = 25, |u| |e| = 15
    numbers = kept(
        {"w": torch.tensor([1.0, 1.0])},
        {"w": torch.tensor([4.0, 5.0]), "tied": torch.ones(9)},
        {"w": torch.tensor([4.0, 1.0]), "tied": torch.zeros(9)},
    )
    assert numbers == {"export_update_kept": 0.36, "export_update_cosine": 0.6}


def test_an_update_that_is_rounded_away_is_kept_by_nothing() -> None:
    one = {"w": torch.ones(2)}
    expected = {"export_update_kept": 0.0, "export_update_cosine": 0.0}
    assert kept(one, {"w": torch.ones(2) + STEP / 4}, one) == expected


def test_no_update_is_kept_whole() -> None:
    one = {"w": torch.ones(2)}
    assert kept(one, one, one) == {"export_update_kept": 1.0, "export_update_cosine": 1.0}


def test_small_updates_survive_by_lot_on_average_and_not_by_rounding_to_the_nearest() -> None:
    start = torch.ones(200_000)
    trained = start + STEP / 8
    by_format = {
        dtype: kept({"w": start}, {"w": trained}, stored({"w": trained}, Rounding(dtype, "k"), {}))[
            "export_update_kept"
        ]
        for dtype in get_args(ExportDtype)
    }
    assert by_format["float32"] == 1.0
    assert by_format["bfloat16"] == 0.0
    # One in eight weights moves by 8 u: 1 on average, sd sqrt(7 / 200000) = .006
    assert by_format["bfloat16_stochastic"] == pytest.approx(1.0, abs=0.024)


def test_a_start_is_kept_in_the_smaller_format_where_that_is_exact() -> None:
    model = torch.nn.Linear(2, 1)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[1.0, 0.5]]))
        model.bias.copy_(torch.tensor([1 + STEP / 4]))
    found = snapshot(model)
    assert {name: value.dtype for name, value in found.items()} == {
        "weight": torch.bfloat16,
        "bias": torch.float32,
    }
    with torch.no_grad():
        model.bias.add_(1)
    assert float(found["bias"]) == 1 + STEP / 4


def exported(policy: Path, place: Path, dtype: ExportDtype) -> list[Path]:
    """Train two steps, export a candidate after each."""
    training = TRAINING.model_copy(update={"export_dtype": dtype})
    settings = DPO.model_copy(update={"batch_size": 2, "learning_rate": 1e-4})
    jobs.train_here(
        jobs.TrainingJob("policy", policy, dataset(PAIRS), Recipe(settings, training, 1), {}), place
    )
    return sorted((place / "checkpoints").iterdir())


@pytest.mark.slow
def test_every_candidate_says_what_it_kept_and_is_what_the_rule_gives(
    policy_folder: Path, tmp_path: Path
) -> None:
    made = {d: exported(policy_folder, tmp_path / d, d) for d in get_args(ExportDtype)}
    exact = [load_file(folder / "model.safetensors") for folder in made["float32"]]
    start = snapshot(load_policy(policy_folder, "float32").model)
    parent = read_manifest(policy_folder).digest
    for dtype, folders in made.items():
        for step, (folder, trained) in enumerate(zip(folders, exact, strict=True), 1):
            found = load_file(folder / "model.safetensors")
            key = f"1|{parent}|{step}"
            expected = stored(trained, Rounding(dtype, key), {})
            assert all(torch.equal(found[name], expected[name]) for name in trained)
            said = read_manifest(folder).made_by
            assert kept(start, trained, expected).items() <= said.items()
            format_of_files = load_policy(folder, "float32").model.config.dtype
            assert format_of_files == torch.float32
    numbers = {dtype: update_metrics(folders) for dtype, folders in made.items()}
    assert set(numbers["float32"].values()) == {1.0}
    assert numbers["bfloat16_stochastic"]["export_update_kept"] == pytest.approx(1, abs=0.05)
    last = numbers["bfloat16"]["export_update_kept"]
    assert numbers["bfloat16"]["export_update_kept_min"] <= last != 1.0


@pytest.mark.slow
def test_rounding_by_lot_gives_the_same_files_again(policy_folder: Path, tmp_path: Path) -> None:
    one, other = (
        [
            read_manifest(folder).digest
            for folder in exported(policy_folder, tmp_path / name, "bfloat16_stochastic")
        ]
        for name in "ab"
    )
    assert one == other


def test_a_manifest_that_does_not_say_what_was_kept_is_one_line(policy_folder: Path) -> None:
    with pytest.raises(InputError) as caught:
        update_metrics([policy_folder])
    assert str(caught.value).endswith("expected two numbers; run dvc repro")
