"""Scorers: what holds a reward model in memory and scores shards of prompts with their answers."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from transformers import PreTrainedTokenizerBase

from mutual_taught import agreement, blocks, models, preflight, reward
from mutual_taught.packing import Group
from mutual_taught.progress import Counted, ignore
from mutual_taught.reward import Rewards


class Scorer(Protocol):
    """Scores answers. It is started once a stage; one reward model takes the other's place."""

    settings: blocks.Score
    tokenizer: PreTrainedTokenizerBase

    def load(self, reward_model: Path) -> None:
        """Take a reward model, in place of the one before."""

    def score(
        self, shards: Mapping[int, Sequence[Group]], seen: Counted = ignore
    ) -> Iterator[tuple[int, Rewards]]:
        """Score all shards, each given when it is finished.

        A shard's rewards depend on its own groups alone: not on which other shards are asked for,
        nor on their order.

        Args:
            shards: a group of each prompt, in order of prompt id.
            seen: told of so many rewards as they come, before their shard is given.

        Returns:
            Number of the shard, and the rewards of each group's branches.
        """

    def close(self) -> None:
        """Give back the memory."""


@contextmanager
def start(
    settings: blocks.Score, workers: blocks.Workers, tokens: blocks.Tokens
) -> Iterator[Scorer]:
    """Lend a scorer where `engine.workers` says, without a reward model yet.

    Args:
        settings: block `score`.
        workers: of block `engine`.
        tokens: limits, up to which reward models are compared with a plain pass.
    """
    scorer = (Local if workers == "local" else _pool)(settings, tokens)
    try:
        yield scorer
    finally:
        scorer.close()


def _pool(settings: blocks.Score, tokens: blocks.Tokens) -> Scorer:
    from mutual_taught import ray_pool  # ray takes a second to import

    return ray_pool.Scorer(settings, tokens)


class Local:
    """Packed scoring in this process: reward.py."""

    tokenizer: PreTrainedTokenizerBase

    def __init__(self, settings: blocks.Score, tokens: blocks.Tokens) -> None:
        self.settings, self.tokens = settings, tokens
        self.folder: Path | None = None
        self.reward_model: models.RewardModel | None = None

    def load(self, reward_model: Path) -> None:
        """Load a reward model, unless it is the one loaded last."""
        if reward_model == self.folder:
            return
        self.close()
        rows = agreement.reward_model(reward_model, self.tokens).rows
        self.reward_model = models.load_reward_model(reward_model, self.settings.dtype, rows)
        self.tokenizer = self.reward_model.tokenizer
        preflight.require(preflight.reward_model(self.reward_model), reward_model)
        self.folder = reward_model

    def score(
        self, shards: Mapping[int, Sequence[Group]], seen: Counted = ignore
    ) -> Iterator[tuple[int, Rewards]]:
        """Score shard after shard."""
        assert self.reward_model is not None
        for number, groups in shards.items():
            budget = self.settings.token_budget
            yield number, reward.score(self.reward_model, groups, budget, seen)

    def close(self) -> None:
        """Let go of the weights."""
        self.folder = self.reward_model = None
