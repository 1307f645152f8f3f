"""Small policies of a shape that vLLM takes: its CPU kernels want heads of 32 at least."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from mutual_taught.artifacts.manifests import write_manifest
from mutual_taught.config.blocks import Engine
from mutual_taught.prepare.base_models import _tiny_tokenizer
from mutual_taught.sampling.vllm import Vllm

CONTEXT = 32
SETTINGS = Engine(
    name="vllm",
    dtype="float32",
    shard_size=2,
    batch_size=8,
    batch_tokens=None,
    tensor_parallel=1,
    gpu_memory_utilization=0.1,
    workers="local",
)


@pytest.fixture(scope="session")
def make_policy(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    """Make a random two-layer policy with a manifest."""

    def make(seed: int) -> Path:
        folder = tmp_path_factory.mktemp("models") / f"policy-{seed}"
        tokenizer = _tiny_tokenizer()
        torch.manual_seed(seed)
        config = LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            max_position_embeddings=1024,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            initializer_range=0.2,
            pad_token_id=tokenizer.pad_token_id,
            tie_word_embeddings=True,
        )
        LlamaForCausalLM(config).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        write_manifest(folder, "policy", "small random Llama", None, {})
        return folder

    return make


@pytest.fixture(scope="session")
def first(make_policy: Callable[[int], Path]) -> Path:
    """One policy."""
    return make_policy(1)


@pytest.fixture(scope="session")
def second(make_policy: Callable[[int], Path]) -> Path:
    """Another policy of the same shape."""
    return make_policy(2)


@pytest.fixture(scope="session")
def running() -> Iterator[Vllm]:
    """One engine for all tests, without weights."""
    engine = Vllm(SETTINGS, CONTEXT)
    yield engine
    engine.close()


@pytest.fixture
def engine(running: Vllm, first: Path) -> Vllm:
    """An engine that holds the first policy."""
    running.load(first)
    return running
