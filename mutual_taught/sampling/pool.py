"""Sampling on a cluster: the sampler of one process, in a pool of them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from transformers import PreTrainedTokenizerBase

from mutual_taught.cluster import connect, run
from mutual_taught.config import blocks
from mutual_taught.models.load import load_tokenizer
from mutual_taught.sampling.keyed import Decode, Request, Seen, moved
from mutual_taught.sampling.local import local_sampler
from mutual_taught.sampling.sampler import Responses
from mutual_taught.terminal.progress import ignore


class SamplingJob(NamedTuple):
    """Draw responses with a policy."""

    folder: Path
    settings: blocks.Engine
    context: int
    tokens: blocks.Tokens
    decode: Decode

    @property
    def gpus(self) -> int:
        """Those that share one model."""
        return self.settings.tensor_parallel if self.settings.name == "vllm" else 1

    def begin(self) -> Callable[[int, Sequence[Request]], Responses]:
        """Start the sampler."""
        sampler = local_sampler(self.settings, self.context, self.tokens)
        sampler.load(self.folder)

        def draw(number: int, requests: Sequence[Request]) -> Responses:
            [(_, responses)] = sampler.answer({number: requests}, self.decode)
            return responses

        return draw


class SamplerPool:
    """Draws responses in the pool."""

    tokenizer: PreTrainedTokenizerBase

    def __init__(self, settings: blocks.Engine, context: int, tokens: blocks.Tokens) -> None:
        self.settings, self.context, self.tokens = settings, context, tokens
        self.policy: Path | None = None
        self.leave = connect()

    def load(self, policy: Path) -> None:
        """Name the policy that the workers load, and take its tokenizer."""
        self.policy, self.tokenizer = policy.resolve(), load_tokenizer(policy)

    def answer(
        self,
        shards: Mapping[int, Sequence[Request]],
        decode: Decode,
        seen: Seen = ignore,
    ) -> Iterator[tuple[int, Responses]]:
        """Draw the shards in the pool, in any order."""
        assert self.policy is not None
        job = SamplingJob(self.policy, self.settings, self.context, self.tokens, decode)
        for number, responses in run(job, shards):
            for draws in responses:
                seen(moved(draws))
            yield number, responses

    def close(self) -> None:
        """Leave the cluster."""
        self.leave()
