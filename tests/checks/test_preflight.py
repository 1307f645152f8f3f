"""What a model must have before hours are spent on it: each fault is refused with its reason."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from click.testing import CliRunner

from mutual_taught.cli import main
from mutual_taught.errors import InputError
from mutual_taught.prepare.base_models import CHATML
from tests import project

if TYPE_CHECKING:
    from mutual_taught.models.load import Policy, RewardModel


@pytest.fixture
def own_policy(policy_folder: Path) -> "Policy":
    """A policy of one's own, to spoil."""
    from mutual_taught.models.load import load_policy

    return load_policy(policy_folder, "float32")


@pytest.fixture
def own_reward_model(reward_folder: Path) -> "RewardModel":
    """A reward model of one's own, to spoil."""
    from mutual_taught.models.load import load_reward_model

    return load_reward_model(reward_folder, "float32")


def refusal(checks: Any) -> str:
    from mutual_taught.checks import preflight

    with pytest.raises(InputError) as caught:
        preflight.require(checks, "run/0/model")
    return str(caught.value)


def test_sound_models_pass(own_policy: "Policy", own_reward_model: "RewardModel") -> None:
    from mutual_taught.checks import preflight

    checks = [*preflight.policy(own_policy), *preflight.reward_model(own_reward_model)]
    assert len(checks) == 18
    assert [check.fault for check in checks if check.fault] == []


def test_tokenizer_without_a_template(own_policy: "Policy") -> None:
    from mutual_taught.checks import preflight

    own_policy.tokenizer.chat_template = None
    assert refusal(preflight.policy(own_policy)) == (
        "run/0/model: chat template: none; expected one; use an instruction-tuned model"
    )


def test_template_that_adds_a_second_bos(own_reward_model: "RewardModel") -> None:
    from mutual_taught.checks import preflight

    own_reward_model.tokenizer.bos_token = "<|im_end|>"
    own_reward_model.tokenizer.chat_template = "<|im_end|><|im_end|>" + CHATML
    said = refusal(preflight.reward_model(own_reward_model))
    assert said.startswith("run/0/model: BOS at the start of one turn: 2; expected one")


def test_template_that_leaves_out_the_bos_the_tokenizer_adds(own_policy: "Policy") -> None:
    from tokenizers.processors import TemplateProcessing

    from mutual_taught.checks import preflight

    tokenizer: Any = own_policy.tokenizer
    tokenizer.bos_token = "<|pad|>"
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|pad|> $A", special_tokens=[("<|pad|>", tokenizer.bos_token_id)]
    )
    said = refusal(preflight.policy(own_policy))
    assert said.startswith("run/0/model: BOS at the start of one turn: 0; expected one")


def test_template_that_renders_a_prompt_otherwise_with_its_response(own_policy: "Policy") -> None:
    from mutual_taught.checks import preflight

    own_policy.tokenizer.chat_template = "{{ messages | length }}" + CHATML
    said = refusal(preflight.policy(own_policy))
    assert said.startswith(
        "run/0/model: prompt of one turn begins prompt + answer: not from token 0 on; expected a "
        "template that renders a conversation the same with and without its answer"
    )


def test_template_that_ends_a_turn_in_no_stop_token(own_policy: "Policy") -> None:
    from mutual_taught.checks import preflight

    spoilt = own_policy._replace(stop_ids=frozenset({5}))
    said = refusal(preflight.policy(spoilt))
    assert "an answer ends in a stop token" in said
    assert said.endswith("to the token that ends a turn")


def test_template_that_hides_the_response(own_reward_model: "RewardModel") -> None:
    from mutual_taught.checks import preflight

    own_reward_model.tokenizer.chat_template = (
        "{% for m in messages %}{% if m.role == 'user' %}{{ m.content }}{% endif %}{% endfor %}"
    )
    assert refusal(preflight.reward_model(own_reward_model)) == (
        "run/0/model: answer to one turn is in what is scored: no; expected a template that shows "
        "the assistant's turn; mend chat_template"
    )


@pytest.mark.parametrize("template", ["{% if %}", "{{ raise_exception('no such role') }}"])
def test_template_that_fails_is_one_line(own_policy: "Policy", template: str) -> None:
    from mutual_taught.checks import preflight

    own_policy.tokenizer.chat_template = template
    said = refusal_of(lambda: preflight.require(preflight.policy(own_policy), "run/0/model"))
    assert "its chat template refuses a conversation of user" in said
    assert "\n" not in said


def refusal_of(work: Callable[[], object]) -> str:
    with pytest.raises(InputError) as caught:
        work()
    return str(caught.value)


def test_stop_token_outside_the_vocabulary_is_refused(policy_folder: Path, tmp_path: Path) -> None:
    from mutual_taught.models.load import load_policy

    folder = tmp_path / "policy"
    shutil.copytree(policy_folder, folder)
    (folder / "generation_config.json").write_text('{"eos_token_id": 999999}')
    said = refusal_of(lambda: load_policy(folder, "float32"))
    assert "eos_token_id is 999999; expected a token below" in said


def test_reward_model_whose_config_is_garbage_is_refused(
    reward_folder: Path, tmp_path: Path
) -> None:
    from mutual_taught.models.load import load_reward_model

    folder = tmp_path / "reward_model"
    shutil.copytree(reward_folder, folder)
    (folder / "config.json").write_text("{")
    assert "config.json: not valid JSON" in refusal_of(lambda: load_reward_model(folder, "float32"))


def test_reward_model_whose_head_would_be_new_is_refused(
    reward_folder: Path, tmp_path: Path
) -> None:
    from safetensors.torch import load_file, save_file

    from mutual_taught.models.load import load_reward_model

    folder = tmp_path / "reward_model"
    shutil.copytree(reward_folder, folder)
    weights = load_file(folder / "model.safetensors")
    del weights["score.weight"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    assert refusal_of(lambda: load_reward_model(folder, "float32")) == (
        f"{folder}: lacks weights ['score.weight']; expected all of the model that its config "
        "describes; fetch it again, or choose another"
    )


def test_reward_model_whose_rewards_depend_on_the_batch(own_reward_model: "RewardModel") -> None:
    from mutual_taught.checks import preflight

    class Mixing(torch.nn.Module):
        """Adds the mean of the whole row to every hidden state."""

        def __init__(self, inner: Any) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, **inputs: Any) -> Any:
            found = self.inner(**inputs)
            found.last_hidden_state = found.last_hidden_state + inputs["input_ids"].shape[1]
            return found

    model: Any = own_reward_model.model
    setattr(model, model.base_model_prefix, Mixing(model.base_model))
    said = refusal(preflight.reward_model(own_reward_model))
    assert "rewards in batches of 1 and of 8: differ by" in said
    assert said.endswith("it cannot be scored packed")


def test_doctor_looks_at_everything(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(finished.parent)
    result = CliRunner().invoke(main, ["doctor"])
    assert result.exit_code == 0, result.output
    for part in (
        "packages: dvc 3",
        "device: ",
        "disk: ",
        "params.yaml: in order, 2 iterations",
        "run/0/reward_model: rewards in batches of 1 and of 8",
    ):
        assert f"ok    {part}" in result.output


def test_doctor_says_what_is_wrong_and_goes_on(here: Path) -> None:
    project.empty(here)
    (here / "params.yaml").write_text("seed: -1\n")
    (here / "run" / "0" / "policy").mkdir(parents=True)
    result = CliRunner().invoke(main, ["doctor"])
    assert result.exit_code == 1
    assert "FAIL  params.yaml: refused" in result.output
    assert "FAIL  run/0/policy: refused" in result.output
    assert result.output.splitlines()[-1] == "Error: 2 of these would stop a run"


@pytest.mark.parametrize(
    ("window", "kinds", "found"),
    [
        (None, None, "all before it"),
        (512, None, "512 tokens"),
        (511, None, "511 tokens, fewer than tokens.max_length 512"),
        (8, ["full_attention"] * 2, "all before it"),
        (
            8,
            ["sliding_attention", "full_attention"],
            "8 tokens, in some layers, fewer than tokens.max_length 512",
        ),
        (None, ["full_attention", "linear_attention"], "what layers of linear_attention keep"),
    ],
)
def test_what_a_token_sees_is_said(window: int | None, kinds: list[str] | None, found: str) -> None:
    from transformers import MistralConfig

    from mutual_taught.checks import preflight

    config = MistralConfig(num_hidden_layers=2, sliding_window=window)
    config.layer_types = kinds
    assert preflight.sight(config, 512)[1:] == (found, "")
