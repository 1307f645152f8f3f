"""The vllm engine: continuous batching, seeds of our own, weights swapped in place."""

import gc
import importlib.util
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from mutual_taught.artifacts.manifests import require_whole
from mutual_taught.checks import preflight
from mutual_taught.config import blocks
from mutual_taught.errors import InputError
from mutual_taught.models.folders import stop_ids
from mutual_taught.models.load import load_tokenizer
from mutual_taught.sampling.keyed import Decode, Draw, Request, Seen, moved
from mutual_taught.terminal.progress import ignore, line

# The scheduler runs in this process: how requests share a batch must not depend on timing.
ENVIRONMENT = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
}
BLOCK_ON_CPU = 32  # tokens; vLLM's own 128 would share no prefix of most chat prompts


class Vllm:
    """Draws responses with vLLM: one request a response, with that response's own seed."""

    tokenizer: PreTrainedTokenizerBase
    stop_ids: frozenset[int]

    def __init__(self, settings: blocks.Engine, context: int) -> None:
        """Ask for vLLM; it is started with the first weights.

        Args:
            settings: block `engine`.
            context: tokens of a prompt and its response together, at most.

        Raises:
            InputError: vLLM is not installed.
        """
        if importlib.util.find_spec("vllm") is None:
            raise InputError(
                "engine.name is 'vllm'; vllm is not installed; expected the package; run "
                "pip install '.[vllm]', or choose 'transformers'"
            )
        self.settings, self.context = settings, context
        self.llm: Any = None

    def load(self, policy: Path) -> None:
        """Start vLLM on a policy, or swap its weights in.

        Raises:
            InputError: its files are not those of its manifest, or vLLM cannot hold it.
        """
        require_whole(policy)
        self.tokenizer = load_tokenizer(policy)
        self.stop_ids = stop_ids(policy, self.tokenizer)
        preflight.require(preflight.policy(self), policy)
        if self.llm is None:
            line(f"starting vllm with {policy}")
            self.llm = self._start(policy)
        else:
            self.llm.collective_rpc("reload_weights", kwargs={"weights_path": str(policy)})
            self.llm.apply_model(_pack_output_layer)

    def _start(self, policy: Path) -> Any:
        """Make vLLM's engine; what it cannot hold is one line."""
        os.environ.update(ENVIRONMENT)
        os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
        options: dict[str, Any] = {}
        if not torch.cuda.is_available():
            # Threads of vLLM's own choice would leave a core idle. Compiled code would keep the
            # first weights, and its start is dearer than what it saves.
            os.environ.setdefault("OMP_NUM_THREADS", str(torch.get_num_threads()))
            os.environ["VLLM_CPU_OMP_THREADS_BIND"] = "nobind"
            options = {
                "enforce_eager": True,
                "block_size": BLOCK_ON_CPU,
                "distributed_executor_backend": "uni",
            }
        from vllm import LLM  # takes seconds to import

        try:
            return LLM(
                str(policy),
                dtype=self.settings.dtype,
                max_model_len=self.context,
                tensor_parallel_size=self.settings.tensor_parallel,
                gpu_memory_utilization=self.settings.gpu_memory_utilization,
                load_format="safetensors",
                use_tqdm_on_load=False,
                trust_remote_code=False,
                generation_config="vllm",
                skip_tokenizer_init=True,
                enable_prefix_caching=True,
                logprobs_mode="raw_logprobs",
                **options,
            )
        except (ValueError, RuntimeError) as error:
            said = " ".join(str(error).split())[:300]
            raise InputError(
                f"{policy}: vllm cannot hold it ({said}); expected a model and limits that vllm "
                "takes; change tokens or engine, or choose engine.name 'transformers'"
            ) from None

    def answer(
        self, shards: Mapping[int, Sequence[Request]], decode: Decode, seen: Seen = ignore
    ) -> Iterator[tuple[int, list[list[Draw]]]]:
        """Draw shard after shard, all responses of one at once.

        The cache of prefixes is emptied before each: what an earlier shard left there would
        change what is computed together, hence rounding.
        """
        for number, requests in shards.items():
            assert self.llm.reset_prefix_cache()
            yield number, self._shard(requests, decode, seen)

    def _shard(self, requests: Sequence[Request], decode: Decode, seen: Seen) -> list[list[Draw]]:
        prompts = [
            {"prompt_token_ids": list(request.tokens)}
            for request in requests
            for _ in request.seeds
        ]
        wanted = sampling_params([s for r in requests for s in r.seeds], decode, self.stop_ids)
        names = self.llm.enqueue(prompts, wanted, use_tqdm=False)
        found: dict[int, Draw] = {}  # what vLLM gives back is numbered in order of the prompts
        while self.llm.llm_engine.has_unfinished_requests():
            for output in self.llm.llm_engine.step():
                if output.finished:
                    found[int(output.request_id)] = _draw(output.outputs[0])
                    seen(moved([found[int(output.request_id)]]))
        assert len(found) == len(names)
        draws = iter([found[number] for number in sorted(found)])
        return [[next(draws) for _ in request.seeds] for request in requests]

    def close(self) -> None:
        """Let go of the weights, the cache and vLLM's own process group."""
        if self.llm is None:
            return
        from vllm.distributed.parallel_state import cleanup_dist_env_and_memory

        self.llm.llm_engine.engine_core.shutdown()
        self.llm = None
        gc.collect()
        cleanup_dist_env_and_memory()


def sampling_params(seeds: Sequence[int], decode: Decode, stop_ids: frozenset[int]) -> list[Any]:
    """Say how each response is drawn; the k-th of n samples would get seed + k, so n is 1."""
    from vllm import SamplingParams

    return [
        SamplingParams(
            n=1,
            seed=seed,
            temperature=decode.temperature,
            top_p=decode.top_p,
            max_tokens=decode.max_new_tokens,
            stop_token_ids=sorted(stop_ids),
            ignore_eos=True,
            logprobs=0,
            detokenize=False,
        )
        for seed in seeds
    ]


def _pack_output_layer(model: torch.nn.Module) -> None:
    """Pack an output layer that shares the embedding's weights anew.

    On a CPU vLLM 0.32 keeps packed copies, and its reload forgets this one: the responses would be
    those of the new weights under the old output layer. On a GPU there is no copy.
    """
    head = getattr(model, "lm_head", None)
    if head is not None and not torch.cuda.is_available():
        head.quant_method.process_weights_after_loading(head)


def _draw(drawn: Any) -> Draw:
    """Take a response over: vLLM's tokens include the final eos, its log-probs are raw."""
    return Draw(list(drawn.token_ids), str(drawn.finish_reason), float(drawn.cumulative_logprob))
