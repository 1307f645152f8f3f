"""Reward models that start from a policy."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    PretrainedConfig,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from mutual_taught.errors import InputError
from mutual_taught.models import (
    export,
    load_reward_model,
    new_reward_model,
    sees_all,
)

SMALL: dict[str, Any] = {
    "vocab_size": 384, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2,
}  # fmt: skip


def test_new_reward_model_has_the_first_layers_of_its_policy(
    policy_folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    model, tokenizer = new_reward_model(policy_folder, 1, 1)
    theirs = load_file(policy_folder / "model.safetensors")
    own = model.state_dict()
    assert {name.split(".")[2] for name in own if ".layers." in name} == {"0"}
    for name, weight in own.items():
        if name != "score.weight":
            assert torch.equal(weight, theirs[name]), name
    said: dict[str, Any] = {"kind": "reward_model", "base": "", "parent": None, "made_by": {}}
    export(model, own, tokenizer, tmp_path / "r0", "float32", said)
    again = load_reward_model(tmp_path / "r0", "float32").model
    assert again.config.num_hidden_layers == 1
    assert torch.equal(again.score.weight, model.score.weight)
    assert capfd.readouterr().err == ""


def test_more_layers_than_the_policy_has_are_one_line(policy_folder: Path) -> None:
    with pytest.raises(InputError) as error:
        new_reward_model(policy_folder, 1, 3)
    assert str(error.value) == (
        f"base_reward_model.layers: 3; expected at most 2, which {policy_folder} has"
    )


def test_policy_that_lacks_a_weight_is_one_line(policy_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "policy"
    shutil.copytree(policy_folder, folder)
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.0.mlp.up_proj.weight"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(InputError, match=r"policy: lacks weights \['model.layers.0.mlp.up_proj"):
        new_reward_model(folder, 1, None)


def test_model_that_lists_its_layers_is_cut(policy_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "policy"
    shutil.copytree(policy_folder, folder)
    Qwen2ForCausalLM(Qwen2Config(**SMALL)).save_pretrained(folder)
    model, tokenizer = new_reward_model(folder, 1, 1)
    assert model.config.layer_types == ["full_attention"]
    said: dict[str, Any] = {"kind": "reward_model", "base": "", "parent": None, "made_by": {}}
    export(model, model.state_dict(), tokenizer, tmp_path / "r0", "float32", said)
    assert len(load_reward_model(tmp_path / "r0", "float32").model.model.layers) == 1


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (LlamaConfig(**SMALL), True),
        (Qwen2Config(**SMALL), True),
        (Qwen2Config(**SMALL, use_sliding_window=True, max_window_layers=1), False),
        (MistralConfig(**SMALL, sliding_window=8), False),
        (MistralConfig(**SMALL, sliding_window=None), True),
        (GPT2Config(), False),
    ],
)
def test_models_whose_tokens_see_all_before_them(config: PretrainedConfig, expected: bool) -> None:
    assert sees_all(config) is expected
