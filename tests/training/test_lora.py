"""LoRA: adapters alone learn, what is exported is the whole model, and loads as one."""

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from mutual_taught.artifacts.manifests import read_manifest
from mutual_taught.config.learning import Lora
from mutual_taught.errors import InputError
from mutual_taught.models.load import load_policy, load_reward_model
from mutual_taught.models.packed.forward import packed_rewards
from mutual_taught.models.packed.rows import Group
from mutual_taught.training import dpo, lora, reward
from mutual_taught.training.export import save_model
from mutual_taught.training.rounding import EXACT, Weights
from mutual_taught.training.settings import Recipe
from tests.training.test_loop import DPO, PAIRS, REWARD, TRAINING, reward_rows, trained

SETTINGS = Lora(rank=4, alpha=8, targets="all-linear")
ADAPTED = TRAINING.model_copy(update={"lora": SETTINGS})
SLOW = DPO.model_copy(update={"epochs": 3})


def train(kind: str, start: Path, work: Path, out: Path) -> Any:
    """Train with adapters and export; give the trained model."""
    trained: list[Any] = []

    def export(model: Any, weights: Weights, step: int) -> None:
        trained.append(model)
        made_by = {"training": ADAPTED.model_dump()}
        said = {"kind": kind, "base": "tiny", "parent": None, "made_by": made_by}
        save_model(model, weights, learner.tokenizer, out, EXACT, said)

    learner: Any
    if kind == "policy":
        learner = load_policy(start, "float32")
        pairs = dpo.dataset(PAIRS)
        dpo.train_policy(learner, pairs, Recipe(SLOW, ADAPTED, 1), work, export)
    else:
        learner = load_reward_model(start, "float32")
        pairs = reward.dataset(reward_rows())
        reward.train_reward(learner, pairs, Recipe(REWARD, ADAPTED, 1), work, export)
    return trained[-1]


def outputs(model: Any, kind: str) -> torch.Tensor:
    """What a model says of one row: logits, or a reward."""
    row = [9, 8, 7, 20, 21, 2]
    if kind == "policy":
        return torch.as_tensor(model(torch.tensor([row])).logits)
    return packed_rewards(model, [Group(row[:3], [row[3:]])], torch.device("cpu"))


@pytest.mark.parametrize("kind", ["policy", "reward_model"])
def test_exported_model_is_whole_and_answers_as_the_adapted_one(
    policy_folder: Path, reward_folder: Path, tmp_path: Path, kind: str
) -> None:
    start = policy_folder if kind == "policy" else reward_folder
    adapted = train(kind, start, tmp_path / "work", tmp_path / "out").eval()
    load = load_policy if kind == "policy" else load_reward_model
    merged = load(tmp_path / "out", "float32").model
    before = load(start, "float32").model.state_dict()
    assert set(merged.state_dict()) == set(before)
    changed = {name for name, value in merged.state_dict().items() if (value != before[name]).any()}
    assert any("q_proj" in name for name in changed)
    assert not any("embed" in name or "norm" in name for name in changed)
    assert ("score.weight" in changed) == (kind == "reward_model")
    with torch.inference_mode():
        both = [outputs(model, kind) for model in (merged, adapted)]
    torch.testing.assert_close(*both, atol=1e-5, rtol=1e-4)


def test_adapters_alone_and_a_reward_models_head_learn(reward_folder: Path) -> None:
    model = load_reward_model(reward_folder, "float32").model
    lora.adapt(model, SETTINGS, 1)
    learn = {name for name, value in model.named_parameters() if value.requires_grad}
    assert "score.weight" in learn
    assert all(".lora_" in name for name in learn - {"score.weight"})
    assert len(learn) > 1


def test_adapter_is_kept_as_peft_reads_it_and_is_in_the_manifest(
    policy_folder: Path, tmp_path: Path
) -> None:
    train("policy", policy_folder, tmp_path / "work", tmp_path / "out")
    place = tmp_path / "out" / lora.ADAPTER
    said = read_manifest(tmp_path / "out")
    assert "adapter/adapter_model.safetensors" in said.files
    assert said.made_by["training"]["lora"] == SETTINGS.model_dump()
    base = AutoModelForCausalLM.from_pretrained(policy_folder, trust_remote_code=False)
    whole = PeftModel.from_pretrained(base, place).merge_and_unload().state_dict()
    for name, value in load_file(tmp_path / "out" / "model.safetensors").items():
        torch.testing.assert_close(value, whole[name])


@pytest.mark.slow
def test_interrupted_training_of_adapters_ends_with_the_same_weights(
    policy_folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        trained(policy_folder, SLOW, ADAPTED, tmp_path / "killed", 3)
    _, again = trained(policy_folder, SLOW, ADAPTED, tmp_path / "killed")
    assert again == trained(policy_folder, SLOW, ADAPTED, tmp_path / "whole")[1]


def test_unknown_layers_are_one_line(policy_folder: Path) -> None:
    model = load_policy(policy_folder, "float32").model
    with pytest.raises(InputError) as caught:
        lora.adapt(model, Lora(rank=4, alpha=8, targets=["query"]), 1)
    assert str(caught.value).startswith("training.lora.targets is ['query']; expected all-linear ")
    assert "\n" not in str(caught.value)
