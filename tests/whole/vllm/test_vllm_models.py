"""Models whose computation is easily got wrong, in vLLM as in plain transformers."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

from bench import architectures
from mutual_taught.artifacts.manifests import write_manifest
from mutual_taught.config import blocks, params
from mutual_taught.keeping import export as exporting
from mutual_taught.models.load import EXAMPLE, load_reward_model, new_reward_model
from mutual_taught.models.packed.conversations import Asked, tokenise
from mutual_taught.models.packed.rows import Group
from mutual_taught.scoring.rewards import score
from mutual_taught.training.export import save_model
from mutual_taught.training.rounding import EXACT
from tests import project

# Each in a process of its own: one holds one engine.
DRAW = """
import json, sys
from pathlib import Path
from mutual_taught.sampling.keyed import Decode, Request
from mutual_taught.sampling.vllm import Vllm
from tests.whole.vllm.conftest import SETTINGS

engine = Vllm(SETTINGS, 64)
engine.load(Path(sys.argv[1]))
asked = [Request([9, 30, 31, 32], [1, 2]), Request([40] * 20, [3])]
[(_, found)] = engine.answer({0: asked}, Decode(1.0, 1.0, 8))
print(json.dumps([[[draw.token_ids, draw.logprob] for draw in draws] for draws in found]))
engine.close()
"""
POOL = """
import json, os, sys
from mutual_taught.sampling.vllm import ENVIRONMENT
os.environ |= {**ENVIRONMENT, "VLLM_LOGGING_LEVEL": "ERROR", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
from vllm import LLM
from vllm.config import PoolerConfig

llm = LLM(
    sys.argv[1], dtype="float32", runner="pooling", pooler_config=PoolerConfig(use_activation=False),
    max_model_len=256, gpu_memory_utilization=0.1, enforce_eager=True,
    distributed_executor_backend="uni", trust_remote_code=False,
)
read = [{"prompt_token_ids": tokens} for tokens in json.loads(sys.argv[2])]
print(json.dumps([float(one.outputs.data[-1]) for one in llm.encode(read, pooling_task="classify", use_tqdm=False)]))
"""  # noqa: E501


def said(script: str, *arguments: str) -> Any:
    """Run a script; give the JSON of its last line."""
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_capped_scores_are_those_of_plain_transformers(tmp_path: Path) -> None:
    folder = architectures.make("Gemma 2", tmp_path / "policy")
    write_manifest(folder, "policy", "small random Gemma 2", None, {})
    plain = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager", trust_remote_code=False
    ).eval()
    prompts = [[9, 30, 31, 32], [40] * 20]
    for prompt, draws in zip(prompts, said(DRAW, str(folder)), strict=True):
        for tokens, logprob in draws:
            group = Group(prompt, [tokens])
            ids = torch.tensor([[*group.prefix, *tokens]])
            with torch.inference_mode():
                logps = plain(input_ids=ids).logits[0].log_softmax(-1)
            own = logps[len(prompt) - 1 : -1].gather(1, ids[0, len(prompt) :, None])
            assert logprob == pytest.approx(float(own.sum()), abs=5e-4)


@pytest.mark.parametrize("manner", ["chatml", "llama3", "mistral"])
def test_reward_model_made_here_is_pooled_where_we_read_it(tmp_path: Path, manner: str) -> None:
    tokenizer = architectures.tokenizer(manner)
    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=1024,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        initializer_range=0.2,
    )
    policy, folder = tmp_path / "policy", tmp_path / "reward_model"
    LlamaForCausalLM(config).save_pretrained(policy)
    tokenizer.save_pretrained(policy)
    model, own = new_reward_model(policy, 1, None)
    made: dict[str, Any] = {"kind": "reward_model", "base": "", "parent": None, "made_by": {}}
    save_model(model, model.state_dict(), own, folder, EXACT, made)
    responses = ["Great Wave.", "No", "No idea"]
    loaded = load_reward_model(folder, "float32")
    ours = score(loaded, [tokenise(own, Asked("p", EXAMPLE, responses))], 500)[0].tolist()
    theirs = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    read = [
        theirs.apply_chat_template(
            [*EXAMPLE, {"role": "assistant", "content": response}], tokenize=True, return_dict=True
        )["input_ids"]
        for response in responses
    ]
    assert said(POOL, str(folder), json.dumps(read)) == pytest.approx(ours, abs=1e-4)


CHAT = """
import json, os, sys
from mutual_taught.sampling.vllm import ENVIRONMENT
os.environ |= {**ENVIRONMENT, "VLLM_LOGGING_LEVEL": "ERROR", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
from vllm import LLM

llm = LLM(
    sys.argv[1], max_model_len=256, gpu_memory_utilization=0.1, enforce_eager=True,
    distributed_executor_backend="uni", trust_remote_code=False,
)
told = llm.get_default_sampling_params()
asked = [{"role": "user", "content": "Name a bird."}]
[answer] = llm.chat(asked, told, use_tqdm=False)
print(json.dumps([told.temperature, told.top_p, told.max_tokens, len(answer.outputs[0].token_ids)]))
"""


def test_exported_models_are_served_as_they_are(
    make_policy: Callable[[int], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    policy = Path("run/1/policy")
    shutil.copytree(make_policy(1), policy)
    made = new_reward_model(policy, 1, None)
    reward_model = Path("run/1/reward_model")
    said_of: dict[str, Any] = {"kind": "reward_model", "base": "", "parent": None, "made_by": {}}
    save_model(made.model, made.model.state_dict(), made.tokenizer, reward_model, EXACT, said_of)
    shutil.copy(project.ROOT / "presets" / "tiny.yaml", "params.yaml")
    folders = exporting.export(Path("run"), "1", Path("out"), ("policy", "reward_model"))
    drawn = said(CHAT, str(folders[0]))
    values = params.load(blocks.Eval)
    assert drawn[:3] == [values.temperature, values.top_p, values.max_new_tokens]
    assert 0 < drawn[3] <= values.max_new_tokens
    ours = load_reward_model(reward_model, "float32")
    read = tokenise(ours.tokenizer, Asked("p", EXAMPLE, ["A robin.", "No, none at all."]))
    [expected] = score(ours, [read], 640)
    tokens = [[*read.prefix, *branch] for branch in read.branches]
    pooled = said(POOL, str(folders[1]), json.dumps([list(map(int, one)) for one in tokens]))
    assert pooled == pytest.approx([float(value) for value in expected], abs=1e-4)
