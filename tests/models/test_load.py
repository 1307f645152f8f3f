"""Reward models that start from a policy."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    PretrainedConfig,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from bench import architectures
from mutual_taught.artifacts.files import read_json, write_json
from mutual_taught.errors import InputError
from mutual_taught.models.chat import scored_tokens
from mutual_taught.models.load import EXAMPLE, load_reward_model, new_reward_model
from mutual_taught.models.packed.conversations import Asked, tokenise
from mutual_taught.models.sight import sees_all
from mutual_taught.scoring.rewards import score
from mutual_taught.training.export import save_model
from mutual_taught.training.rounding import EXACT

SMALL: dict[str, Any] = {
    "vocab_size": 384,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}


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
    save_model(model, own, tokenizer, tmp_path / "r0", EXACT, said)
    again = load_reward_model(tmp_path / "r0", "float32").model
    assert again.config.num_hidden_layers == 1
    assert torch.equal(again.score.weight, model.score.weight)
    assert capfd.readouterr().err == ""


def rewards_of(folder: Path, responses: list[str]) -> tuple[list[float], list[float]]:
    """Score responses as we do, and as whoever loads the folder with transformers does."""
    loaded = load_reward_model(folder, "float32")
    asked = Asked("p", EXAMPLE, responses)
    own = score(loaded, [tokenise(loaded.tokenizer, asked)], 500)[0].tolist()
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    plain = AutoModelForSequenceClassification.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager", trust_remote_code=False
    ).eval()
    theirs = []
    for response in responses:
        turns = [*EXAMPLE, {"role": "assistant", "content": response}]
        read = tokenizer.apply_chat_template(
            turns, tokenize=True, return_dict=True, return_tensors="pt"
        )
        with torch.inference_mode():
            theirs.append(float(plain(**read).logits[0, 0]))
    return own, theirs


# "No" begins "No idea": its branch is the padding token alone.
RESPONSES = ["Great Wave.", "No", "No idea"]


def test_conversation_that_ends_in_the_padding_token_is_scored_where_transformers_does(
    tmp_path: Path,
) -> None:
    folder = architectures.make("Llama 3", tmp_path / "reward", reward=True)
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    tokenizer.pad_token = tokenizer.eos_token
    tokenizer.save_pretrained(folder)
    config = read_json(folder / "config.json")
    write_json(folder / "config.json", {**config, "pad_token_id": tokenizer.eos_token_id})
    own, theirs = rewards_of(folder, RESPONSES)
    assert own == pytest.approx(theirs, abs=1e-5)


@pytest.mark.parametrize("name", ["Llama 3", "Mistral", "Qwen 2"])
def test_reward_model_of_a_policy_is_read_at_the_last_token_by_anyone(
    tmp_path: Path, name: str
) -> None:
    policy = architectures.make(name, tmp_path / "policy")
    model, tokenizer = new_reward_model(policy, 1, None)
    last = scored_tokens(tokenizer, EXAMPLE, "Great Wave.")[-1]
    assert tokenizer.pad_token_id not in (None, last)
    said: dict[str, Any] = {"kind": "reward_model", "base": "", "parent": None, "made_by": {}}
    save_model(model, model.state_dict(), tokenizer, tmp_path / "r0", EXACT, said)
    assert read_json(tmp_path / "r0" / "config.json")["pad_token_id"] == tokenizer.pad_token_id
    own, theirs = rewards_of(tmp_path / "r0", RESPONSES)
    assert own == pytest.approx(theirs, abs=1e-5)


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
    save_model(model, model.state_dict(), tokenizer, tmp_path / "r0", EXACT, said)
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
