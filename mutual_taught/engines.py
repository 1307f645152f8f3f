"""Engines: what holds a policy in memory and draws answers to shards of prompts."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from transformers import PreTrainedTokenizerBase

from mutual_taught import agreement, blocks, generate, models, preflight, vllm_engine
from mutual_taught.generate import Decode, Draw, Request, Seen
from mutual_taught.precision import settle
from mutual_taught.progress import ignore

Answers = list[list[Draw]]


class Engine(Protocol):
    """Draws answers. It is started once a stage; other weights of the same kind are swapped in."""

    settings: blocks.Engine
    tokenizer: PreTrainedTokenizerBase

    def load(self, policy: Path) -> None:
        """Take the weights of a policy, in place of those before."""

    def answer(
        self, shards: Mapping[int, Sequence[Request]], decode: Decode, seen: Seen = ignore
    ) -> Iterator[tuple[int, Answers]]:
        """Draw the answers of all shards, each given when it is finished.

        A shard's answers depend on its own requests alone: not on which other shards are asked
        for, nor on their order.

        Args:
            shards: the requests of each shard, in order of prompt id.
            decode: how tokens are drawn.
            seen: told how far it came, before a shard is given: of every token, or of answers that
                ended.

        Returns:
            Number of the shard, and the draws of each of its requests in order of its seeds.
        """

    def close(self) -> None:
        """Give back the memory: what follows in the stage may need it."""


@contextmanager
def start(settings: blocks.Engine, context: int, tokens: blocks.Tokens) -> Iterator[Engine]:
    """Lend the engine where `engine.workers` says, without weights yet.

    Args:
        settings: block `engine`.
        context: tokens of a prompt and its answer together, at most.
        tokens: limits, up to which models are compared with a plain pass.
    """
    settings = settle(settings)
    make = local if settings.workers == "local" else _pool
    engine = make(settings, context, tokens)
    try:
        yield engine
    finally:
        engine.close()


def local(settings: blocks.Engine, context: int, tokens: blocks.Tokens) -> Engine:
    """Make the engine that `engine.name` names, in this process."""
    if settings.name == "vllm":
        return vllm_engine.Vllm(settings, context)
    return Transformers(settings, tokens)


def _pool(settings: blocks.Engine, context: int, tokens: blocks.Tokens) -> Engine:
    from mutual_taught import ray_pool  # ray takes a second to import

    return ray_pool.Engine(settings, context, tokens)


class Transformers:
    """Keyed sampling with transformers, in this process: generate.py."""

    tokenizer: PreTrainedTokenizerBase

    def __init__(self, settings: blocks.Engine, tokens: blocks.Tokens) -> None:
        self.settings, self.tokens = settings, tokens
        self.policy: models.Policy | None = None

    def load(self, policy: Path) -> None:
        """Load a policy; the one before goes first, so that two are never in memory."""
        self.close()
        agreement.require_sampling(policy, self.tokens, self.settings)
        self.policy = models.load_policy(policy, self.settings.dtype)
        self.tokenizer = self.policy.tokenizer
        preflight.require(preflight.policy(self.policy), policy)

    def answer(
        self, shards: Mapping[int, Sequence[Request]], decode: Decode, seen: Seen = ignore
    ) -> Iterator[tuple[int, Answers]]:
        """Draw shard after shard, each in batches of prompts of similar lengths."""
        for number, requests in shards.items():
            yield number, self._shard(requests, decode, seen)

    def _shard(self, requests: Sequence[Request], decode: Decode, seen: Seen) -> Answers:
        assert self.policy is not None
        found: Answers = [[] for _ in requests]
        for batch in batches(requests, self.settings.batch_size):
            asked = [requests[place] for place in batch]
            draws = generate.sample(self.policy, asked, decode, seen)
            for place, answers in zip(batch, draws, strict=True):
                found[place] = answers
        return found

    def close(self) -> None:
        """Let go of the weights."""
        self.policy = None


def batches(requests: Sequence[Request], answers: int) -> Iterator[list[int]]:
    """Cut requests into batches of so many answers, prompts of similar lengths together.

    Args:
        requests: of one shard, each for as many answers.
        answers: that a batch holds at most, unless one request has more.

    Returns:
        Places of the requests.
    """
    ordered = sorted(range(len(requests)), key=lambda place: (len(requests[place].tokens), place))
    size = max(1, answers // max(1, len(requests[0].seeds))) if requests else 1
    for start in range(0, len(ordered), size):
        yield ordered[start : start + size]
