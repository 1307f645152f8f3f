"""Samplers: what holds a policy in memory and draws responses to shards of prompts."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from transformers import PreTrainedTokenizerBase

from mutual_taught.config import blocks
from mutual_taught.sampling.keyed import Decode, Draw, Request, Seen
from mutual_taught.terminal.progress import ignore

Responses = list[list[Draw]]


class Sampler(Protocol):
    """Draws responses. It starts once a stage; other weights of the same kind are swapped in."""

    settings: blocks.Engine
    tokenizer: PreTrainedTokenizerBase

    def load(self, policy: Path) -> None:
        """Take the weights of a policy, in place of those before."""

    def answer(
        self, shards: Mapping[int, Sequence[Request]], decode: Decode, seen: Seen = ignore
    ) -> Iterator[tuple[int, Responses]]:
        """Draw the responses of all shards, each given when it is finished.

        A shard's responses depend only on its own requests: not on which other shards are asked
        for, nor on their order.

        Args:
            shards: the requests of each shard, in order of prompt id.
            decode: how tokens are drawn.
            seen: told how far it came, before a shard is given: of every token, or of responses
                that ended.

        Returns:
            Number of the shard, and the draws of each of its requests in order of its seeds.
        """

    def close(self) -> None:
        """Give back the memory: what follows in the stage may need it."""
