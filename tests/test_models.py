"""Reward models that start from a policy: what they take of it."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from mutual_taught.errors import InputError
from mutual_taught.models import export, load_reward_model, new_reward_model


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
