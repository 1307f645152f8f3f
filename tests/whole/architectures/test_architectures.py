"""Every architecture: looked at, sampled, trained, scored and exported; `make test-architectures`.

What is exported is loaded by plain transformers, which must compute what we compute.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from bench import architectures
from mutual_taught.artifacts import files
from mutual_taught.artifacts.manifests import STEP, write_manifest
from mutual_taught.checks.policies import compare_policy
from mutual_taught.checks.rewards import compare_new_reward_model, compare_reward_model
from mutual_taught.config.blocks import Engine
from mutual_taught.config.learning import BaseRewardModel, Dpo, Lora, Training
from mutual_taught.errors import InputError
from mutual_taught.models.chat import prompt_tokens, scored_tokens
from mutual_taught.models.load import (
    EXAMPLE,
    give_padding,
    load_policy,
    load_reward_model,
    load_tokenizer,
    scoring_tokenizer,
)
from mutual_taught.models.packed.conversations import Asked, tokenise
from mutual_taught.models.packed.forward import packed_logps, reference_logps
from mutual_taught.models.packed.rows import Group
from mutual_taught.sampling.agreement import compare_sampling
from mutual_taught.sampling.keyed import Decode, Request
from mutual_taught.sampling.local import local_sampler
from mutual_taught.scoring import rewards as reward
from mutual_taught.training import dpo, jobs, lora
from mutual_taught.training import reward as rewards
from mutual_taught.training.export import save_model
from mutual_taught.training.rounding import EXACT
from mutual_taught.training.settings import Recipe
from tests import project

CPU = torch.device("cpu")
ENGINE = Engine(
    name="transformers",
    dtype="float32",
    shard_size=2,
    batch_size=8,
    batch_tokens=None,
    tensor_parallel=1,
    gpu_memory_utilization=0.5,
    workers="local",
)
TRAINING = Training(
    precision="float32",
    export_dtype="float32",
    gradient_checkpointing=False,
    lora=None,
    optimizer="adamw",
    resume_steps=10,
    launcher="single",
    processes=1,
    accelerate_config=None,
)
ONE_STEP = {
    "learning_rate": 1e-3,
    "batch_size": 2,
    "epochs": 1,
    "warmup_ratio": 0.0,
    "scheduler": "cosine",
    "max_grad_norm": 1.0,
    "token_budget": 500,
}
DPO = Dpo.model_validate(
    {
        **ONE_STEP,
        "start": "previous",
        "beta": 0.1,
        "loss_type": "sigmoid",
        "label_smoothing": 0.0,
        "save_steps": 1,
        "keep_checkpoints": None,
    }
)
REWARD = BaseRewardModel.model_validate(
    {**ONE_STEP, "layers": None, "margin": 0.0, "center_rewards": 0.0}
)
RESPONSES = ("Great Wave.", "No", "No idea")
PAGE = (project.ROOT / architectures.PAGE).read_text()


def base(folder: Path) -> Path:
    """Give a model the manifest that a stage would have written."""
    write_manifest(folder, "policy", "random", None, {"stage": "prepare_policy"})
    return folder


def plain_logps(folder: Path, group: Group) -> list[torch.Tensor]:
    """Give log-probs as whoever loads the folder computes them, one sequence at a time."""
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager", trust_remote_code=False
    ).eval()
    found, start = [], len(group.prefix)
    for branch in group.branches:
        ids = torch.tensor([[*group.prefix, *branch]])
        with torch.inference_mode():
            logps = model(input_ids=ids).logits[0].log_softmax(-1)
        found.append(logps[start - 1 : -1].gather(1, ids[0, start:, None]).squeeze(1))
    return found


def plain_rewards(folder: Path, responses: Sequence[str]) -> list[float]:
    """Give rewards as whoever loads the folder computes them, one conversation at a time."""
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    model = AutoModelForSequenceClassification.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager", trust_remote_code=False
    ).eval()
    found = []
    for response in responses:
        read = tokenizer.apply_chat_template(
            [*EXAMPLE, {"role": "assistant", "content": response}],
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
        )
        with torch.inference_mode():
            found.append(float(model(input_ids=read["input_ids"]).logits[0, 0]))
    return found


def our_rewards(folder: Path, responses: Sequence[str]) -> list[float]:
    """Score as the stage does."""
    rows = compare_reward_model(folder, architectures.LIMITS).rows
    loaded = load_reward_model(folder, "float32", rows)
    group = tokenise(loaded.tokenizer, Asked("p", EXAMPLE, responses))
    found: list[float] = reward.score(loaded, [group], 500)[0].tolist()
    return found


def sampled(folder: Path, prompt: Sequence[int]) -> list[list[int]]:
    """Draw two responses as the stage does, and compare their log-probs with a plain pass's."""
    sampler = local_sampler(ENGINE, 256, architectures.LIMITS)
    sampler.load(folder)
    [(_, [draws])] = sampler.answer({0: [Request(prompt, [1, 2])]}, Decode(1.0, 1.0, 6))
    sampler.close()
    right = plain_logps(folder, Group(prompt, [draw.token_ids for draw in draws]))
    for draw, logps in zip(draws, right, strict=True):
        assert draw.logprob == pytest.approx(float(logps.sum()), abs=1e-4)
    return [draw.token_ids for draw in draws]


def trained(kind: jobs.Kind, folder: Path, pairs: Any, settings: Any, rows: Any, at: Path) -> Path:
    """Make one step as the stage does; give the folder of the result."""
    job = jobs.TrainingJob(
        kind, folder, pairs, Recipe(settings, TRAINING, 1), {"stage": "test"}, rows
    )
    outcome = jobs.train_here(job, at)
    assert outcome.steps == 1
    return at / "checkpoints" / STEP.format(1) if kind == "policy" else at / "model"


@pytest.mark.parametrize("name", architectures.ARCHITECTURES)
def test_the_page_says_how_an_architecture_is_read(here: Path, name: str) -> None:
    assert architectures.row(name, here, architectures.LIMITS) in PAGE.splitlines()


@pytest.mark.parametrize("name", architectures.ARCHITECTURES)
def test_a_policy_is_sampled_trained_and_exported_as_transformers_computes_it(
    here: Path, name: str
) -> None:
    folder = base(architectures.make(name, here / "policy"))
    tokenizer = load_tokenizer(folder)
    prompt = prompt_tokens(tokenizer, EXAMPLE, "p")
    found = compare_sampling(folder, architectures.LIMITS)
    if found.wrong:
        with pytest.raises(InputError, match=r"expected what a plain forward pass"):
            sampled(folder, prompt)
        responses = [[40, 41, 42], [50, 51]]
    else:
        responses = sampled(folder, prompt)
    group = Group(prompt, responses)
    policy = load_policy(folder, "float32", found.rows)
    logps = reference_logps(policy, [group], "float32", 500)[0]
    pair = {
        "pair": "p",
        "prompt_ids": prompt,
        "chosen_ids": responses[0],
        "rejected_ids": responses[1],
        "ref_chosen_logps": logps[0],
        "ref_rejected_logps": logps[1],
    }
    pairs = dpo.dataset([pair, {**pair, "pair": "q"}])
    out = trained("policy", folder, pairs, DPO, found.rows, here / "work")
    learnt = load_policy(out, "float32", compare_policy(out, architectures.LIMITS).rows)
    with torch.inference_mode():
        ours = packed_logps(learnt.model, [group], CPU)
    for own, plain, before in zip(ours, plain_logps(out, group), logps, strict=True):
        torch.testing.assert_close(own, plain, atol=1e-4, rtol=0)
        assert float(own.sum()) != before
    margins = [float(ours[0].sum() - ours[1].sum()), logps[0] - logps[1]]
    assert margins[0] > margins[1]
    assert learnt.stop_ids == policy.stop_ids


@pytest.mark.parametrize(
    "name", [n for n in architectures.ARCHITECTURES if architectures.scores(n)]
)
def test_a_reward_model_is_trained_scored_and_exported_as_transformers_computes_it(
    here: Path, name: str
) -> None:
    folder = base(architectures.make(name, here / "policy"))
    rows = compare_new_reward_model(folder, architectures.LIMITS, None).rows
    tokenizer = give_padding(load_tokenizer(folder))
    pairs = rewards.dataset(
        rewards.tokenise(tokenizer, str(n), EXAMPLE, RESPONSES[0], RESPONSES[n + 1], 256)
        for n in range(2)
    )
    out = trained("new_reward_model", folder, pairs, REWARD, rows, here / "work")
    assert our_rewards(out, RESPONSES) == pytest.approx(plain_rewards(out, RESPONSES), abs=1e-4)
    last = scored_tokens(scoring_tokenizer(out), EXAMPLE, RESPONSES[0])[-1]
    assert files.read_json(out / "config.json").get("pad_token_id", -1) != last


@pytest.mark.parametrize("name", ["Llama 3", "Mixtral", "Gemma 3, text and pictures", "GPT-2"])
def test_adapters_are_merged_into_what_is_exported(here: Path, name: str) -> None:
    folder = base(architectures.make(name, here / "policy"))
    policy = load_policy(folder, "float32")
    lora.adapt(policy.model, Lora(rank=4, alpha=8, targets="all-linear"), 1)
    with torch.no_grad():
        for part, value in policy.model.named_parameters():
            if "lora_B" in part:
                value.normal_(0, 0.05)
    said: dict[str, Any] = {"kind": "policy", "base": "b", "parent": None, "made_by": {}}
    out = here / "out"
    save_model(policy.model, policy.model.state_dict(), policy.tokenizer, out, EXACT, said)
    group = Group([9, 30, 31, 32], [[40, 41, 42], [50, 51]])
    with torch.inference_mode():
        adapted = packed_logps(policy.model, [group], CPU)
    for own, plain, first in zip(
        adapted, plain_logps(out, group), plain_logps(folder, group), strict=True
    ):
        torch.testing.assert_close(own, plain, atol=1e-4, rtol=0)
        assert not torch.allclose(plain, first, atol=1e-3)


def test_a_step_that_would_adapt_a_router_is_one_line(here: Path) -> None:
    folder = architectures.make("Mixtral", here / "policy")
    policy = load_policy(folder, "float32")
    with pytest.raises(InputError, match=r"is no linear layer, and its adapter could not be"):
        lora.adapt(policy.model, Lora(rank=4, alpha=8, targets=["gate"]), 1)
