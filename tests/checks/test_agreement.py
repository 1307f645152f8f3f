"""What is computed of a model against a plain pass of transformers, before a run."""

import shutil
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, DeepseekV3Config, Gemma3TextConfig

from bench import architectures
from mutual_taught.artifacts.files import read_json, write_json
from mutual_taught.checks import plain, policies
from mutual_taught.checks.plain import cut
from mutual_taught.checks.policies import compare_policy
from mutual_taught.checks.rewards import compare_new_reward_model, compare_reward_model
from mutual_taught.checks.verdicts import place
from mutual_taught.config.blocks import Engine
from mutual_taught.errors import InputError
from mutual_taught.models.load import load_policy
from mutual_taught.models.packed.forward import packed_logps, policy_pass
from mutual_taught.models.packed.rows import Group
from mutual_taught.sampling import agreement as drawn
from mutual_taught.sampling.agreement import compare_sampling, require_sampling

TOKENS = architectures.LIMITS
TRANSFORMERS = Engine(
    name="transformers",
    dtype="float32",
    shard_size=2,
    batch_size=8,
    batch_tokens=None,
    tensor_parallel=1,
    gpu_memory_utilization=0.5,
    workers="local",
)
VLLM = TRANSFORMERS.model_copy(update={"name": "vllm"})
STRETCHED = "Llama, dynamic NTK beyond its first length"


def test_a_policy_that_agrees_is_read_packed_and_looked_at_once(
    here: Path, policy_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = compare_sampling(policy_folder, TOKENS)
    assert found.rows == "packed"
    assert set(found.gaps) == {"log-probs", "gradient", "sampled log-probs"}
    assert max(found.gaps.values()) < 1e-4
    monkeypatch.setattr(policies, "_policy", lambda *_: pytest.fail("looked at again"))
    monkeypatch.setattr(drawn, "_compare", lambda *_: pytest.fail("looked at again"))
    assert compare_sampling(policy_folder, TOKENS) == found
    trained = here / "trained"  # transformers writes into it how the tokenizer was loaded
    shutil.copytree(policy_folder, trained)
    file = trained / "tokenizer_config.json"
    write_json(file, {**read_json(file), "local_files_only": True})
    assert compare_sampling(trained, TOKENS) == found


def test_other_limits_are_looked_at_anew(here: Path, policy_folder: Path) -> None:
    longer = TOKENS.model_copy(update={"max_length": 300})
    places = {place("policy", policy_folder, limits, {}) for limits in (TOKENS, longer)}
    assert len(places) == 2


def test_attention_with_a_mask_of_its_own_is_read_in_whole_sequences(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = architectures.make("Doge", here / "reward", reward=True)
    assert compare_reward_model(folder, TOKENS).rows == "padded"
    assert "conversations are read whole, padded" in capsys.readouterr().err


def test_window_shorter_than_a_conversation_is_read_in_whole_sequences(here: Path) -> None:
    folder = architectures.make("Mistral, a window of 64 tokens", here / "policy")
    found = compare_sampling(folder, TOKENS)
    assert (found.rows, found.wrong) == ("padded", "")


def test_positions_that_stretch_are_read_by_length_and_not_sampled(here: Path) -> None:
    folder = architectures.make(STRETCHED, here / "policy")
    assert compare_policy(folder, TOKENS).rows == "single"
    with pytest.raises(InputError, match=r"lower tokens\.max_length\); .*, or engine\.name vllm$"):
        require_sampling(folder, TOKENS, TRANSFORMERS)
    assert require_sampling(folder, TOKENS, VLLM).rows == "single"


def test_positions_that_would_stretch_later_are_read_packed(here: Path) -> None:
    folder = architectures.make(STRETCHED, here / "policy")
    short = TOKENS.model_copy(update={"max_prompt_tokens": 60, "max_length": 100})
    found = require_sampling(folder, short, TRANSFORMERS)
    assert (found.rows, found.wrong) == ("packed", "")


def test_a_model_that_agrees_in_no_way_is_refused_by_name(
    here: Path, policy_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = packed_logps
    monkeypatch.setattr(
        policies, "packed_logps", lambda *asked: [part - 0.01 for part in right(*asked)]
    )
    with pytest.raises(InputError, match="llama is not read as transformers reads it") as caught:
        compare_policy(policy_folder, TOKENS)
    for rows in ("packed", "padded", "single"):
        assert f"{rows}: log-probs off by 0.01" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not list((here / ".work").rglob("*.json"))


def test_a_model_that_transformers_cannot_run_is_one_line(here: Path) -> None:
    folder = architectures.make("DeepSeek V3", here / "policy")
    config = read_json(folder / "config.json")
    write_json(folder / "config.json", {**config, "num_key_value_heads": 2})  # of four heads
    with pytest.raises(InputError, match="transformers' own forward pass fails") as caught:
        compare_policy(folder, TOKENS)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "where",
    ["checks.policies.plain_logps", "checks.policies.gradient_gap", "sampling.keyed.sample"],
)
def test_full_memory_is_told_and_is_no_verdict_that_is_kept(
    here: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    folder = architectures.make("Mixtral", here / "policy")
    with monkeypatch.context() as patched:
        patched.setattr(f"mutual_taught.{where}", full)
        with pytest.raises(InputError, match="no memory is left to compare it"):
            compare_sampling(folder, TOKENS)
    assert compare_sampling(folder, TOKENS).rows == "packed"


@pytest.mark.parametrize(
    "name", ["Gemma 2", "Gemma 3, text and pictures", "DeepSeek V3", "Mixtral"]
)
def test_of_a_large_model_a_layer_of_each_kind_is_looked_at(
    here: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = architectures.make(name, here / "policy")
    monkeypatch.setattr(plain, "LARGE", 0)
    assert compare_policy(folder, TOKENS).rows == "packed"
    assert compare_new_reward_model(folder, TOKENS, None).rows == "packed"
    judge = architectures.make(name, here / "reward", reward=True)
    assert compare_reward_model(judge, TOKENS).rows == "packed"


def test_one_layer_of_each_kind_is_kept() -> None:
    sliding = Gemma3TextConfig(
        vocab_size=8,
        hidden_size=8,
        num_hidden_layers=12,
        num_attention_heads=2,
        head_dim=4,
        num_key_value_heads=1,
        intermediate_size=8,
    )
    kept = cut(sliding, AutoModelForCausalLM)
    assert kept.layer_types == ["sliding_attention", "full_attention"]
    dense = DeepseekV3Config(
        vocab_size=8, **{**architectures.SMALL, **architectures.LATENT, "num_hidden_layers": 5}
    )
    assert cut(dense, AutoModelForCausalLM).num_hidden_layers == 2  # dense, experts


@pytest.mark.parametrize("rows", ["packed", "padded", "single"])
@pytest.mark.parametrize("name", ["Gemma 2", "Mixtral", "OPT", "GPT-2"])
def test_log_probs_and_balance_are_those_of_a_padded_batch_of_transformers(
    tmp_path: Path, name: str, rows: str
) -> None:
    folder = architectures.make(name, tmp_path / "policy")
    plain = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager", trust_remote_code=False
    ).eval()
    group = Group([9, 30, 31, 32], [[40, 41, 42], [50, 51], [60, 61, 62, 63, 64]])
    whole = [[*group.prefix, *branch] for branch in group.branches]
    ids = torch.tensor([row + [0] * (9 - len(row)) for row in whole])
    mask = torch.tensor([[1] * len(row) + [0] * (9 - len(row)) for row in whole])
    experts = name == "Mixtral"
    asked = {"output_router_logits": True} if experts else {}
    policy = load_policy(folder, "float32", rows)  # type: ignore[arg-type]
    with torch.inference_mode():
        output = plain(input_ids=ids, attention_mask=mask, **asked)
        logps = output.logits.log_softmax(-1)
        right = [
            torch.stack([logps[n, at - 1, row[at]] for at in range(4, len(row))])
            for n, row in enumerate(whole)
        ]
        found, balance = policy_pass(policy.model, [group], torch.device("cpu"), balance=experts)
    for own, expected in zip(found, right, strict=True):
        torch.testing.assert_close(own, expected, atol=2e-5, rtol=0)
    if experts and rows != "single":  # by length there are several batches
        assert balance is not None
        torch.testing.assert_close(balance, output.aux_loss, atol=1e-5, rtol=0)
