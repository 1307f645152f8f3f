"""AdamW with moments in 8 bits: smaller, near the other, the same after an interruption."""

import importlib.util
from pathlib import Path

import pytest
import torch
from accelerate.utils import DistributedType

from mutual_taught.errors import InputError
from mutual_taught.training import dpo
from mutual_taught.training.loop import run_trainer
from mutual_taught.training.settings import Recipe
from tests.training.test_loop import DPO, TRAINING, trained

SMALL = TRAINING.model_copy(update={"optimizer": "adamw_8bit"})
SETTINGS = DPO.model_copy(update={"epochs": 4})
installed = pytest.mark.skipif(
    not importlib.util.find_spec("bitsandbytes"), reason="make test-extras installs it"
)


@installed
def test_moments_are_in_8_bits_and_losses_near_those_of_32(
    policy_folder: Path, tmp_path: Path
) -> None:
    small, _ = trained(policy_folder, SETTINGS, SMALL, tmp_path / "small")
    large, _ = trained(policy_folder, SETTINGS, TRAINING, tmp_path / "large")
    losses = [[step["loss"] for step in outcome.curve] for outcome in (small, large)]
    assert losses[0] == pytest.approx(losses[1], rel=2e-2)
    assert losses[0] != losses[1]
    [saved] = (tmp_path / "small" / "trainer").glob("checkpoint-3/optimizer.pt")
    state = torch.load(saved, weights_only=True)["state"]
    moments = [kept["__bnb_optimizer_quant_state__"]["state1"] for kept in state.values()]
    # Of at least 4,096 weights; the embedding's stay in 32 bits, because it is trained unevenly.
    assert {len(m) for m in map(torch.flatten, moments) if m.dtype == torch.uint8} == {4096, 8192}


@installed
def test_interrupted_training_ends_with_the_same_weights(
    policy_folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        trained(policy_folder, SETTINGS, SMALL, tmp_path / "killed", 3)
    _, again = trained(policy_folder, SETTINGS, SMALL, tmp_path / "killed")
    assert again == trained(policy_folder, SETTINGS, SMALL, tmp_path / "whole")[1]


def test_without_its_package_it_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(InputError) as caught:
        dpo.config(Recipe(DPO, SMALL, 1), tmp_path)
    assert str(caught.value) == (
        "training.optimizer is adamw_8bit; bitsandbytes is not installed: pip install -e "
        '".[bitsandbytes]", or say adamw'
    )


def test_weights_in_shards_need_the_other(tmp_path: Path) -> None:
    class Accelerator:
        num_processes = 1
        distributed_type = DistributedType.FSDP

    class Trainer:
        accelerator = Accelerator

    asked = SMALL.model_copy(update={"accelerate_config": "fsdp2.yaml"})
    with pytest.raises(InputError, match=r"^training.optimizer is adamw_8bit; fsdp2.yaml keeps"):
        run_trainer(Trainer, tmp_path, [], asked, None)  # type: ignore[arg-type]
