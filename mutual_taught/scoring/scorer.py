"""Scorers: what holds a reward model in memory and scores shards of prompts with responses."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from transformers import PreTrainedTokenizerBase

from mutual_taught.config import blocks
from mutual_taught.models.packed.rows import Group
from mutual_taught.scoring.rewards import Rewards
from mutual_taught.terminal.progress import Counted, ignore


class Scorer(Protocol):
    """Scores responses. It is started once a stage; one reward model takes the other's place."""

    settings: blocks.Score
    tokenizer: PreTrainedTokenizerBase

    def load(self, reward_model: Path) -> None:
        """Take a reward model, in place of the one before."""

    def score(
        self, shards: Mapping[int, Sequence[Group]], seen: Counted = ignore
    ) -> Iterator[tuple[int, Rewards]]:
        """Score all shards, each given when it is finished.

        A shard's rewards depend only on its own groups: not on which other shards are asked for,
        nor on their order.

        Args:
            shards: a group of each prompt, in order of prompt id.
            seen: told of so many rewards as they come, before their shard is given.

        Returns:
            Number of the shard, and the rewards of each group's branches.
        """

    def close(self) -> None:
        """Give back the memory."""
