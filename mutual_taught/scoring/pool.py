"""Scoring on a cluster: the scorer of one process, in a pool of them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from transformers import PreTrainedTokenizerBase

from mutual_taught.cluster import connect, run
from mutual_taught.config import blocks
from mutual_taught.models.load import scoring_tokenizer
from mutual_taught.models.packed.rows import Group
from mutual_taught.scoring import local
from mutual_taught.scoring.rewards import Rewards
from mutual_taught.terminal.progress import Counted, ignore


class ScoringJob(NamedTuple):
    """Score responses with a reward model."""

    folder: Path
    settings: blocks.Score
    tokens: blocks.Tokens
    gpus: int = 1

    def begin(self) -> Callable[[int, Sequence[Group]], Rewards]:
        """Start the scorer."""
        scorer = local.Local(self.settings, self.tokens)
        scorer.load(self.folder)

        def score(number: int, groups: Sequence[Group]) -> Rewards:
            [(_, rewards)] = scorer.score({number: groups})
            return rewards

        return score


class ScorerPool:
    """Scores responses in the pool."""

    tokenizer: PreTrainedTokenizerBase

    def __init__(self, settings: blocks.Score, tokens: blocks.Tokens) -> None:
        self.settings, self.tokens = settings, tokens
        self.reward_model: Path | None = None
        self.leave = connect()

    def load(self, reward_model: Path) -> None:
        """Name the reward model that the workers load, and take its tokenizer."""
        self.reward_model = reward_model.resolve()
        self.tokenizer = scoring_tokenizer(reward_model)

    def score(
        self, shards: Mapping[int, Sequence[Group]], seen: Counted = ignore
    ) -> Iterator[tuple[int, Rewards]]:
        """Score the shards in the pool, in any order."""
        assert self.reward_model is not None
        job = ScoringJob(self.reward_model, self.settings, self.tokens)
        for number, rewards in run(job, shards):
            seen(sum(map(len, rewards)))
            yield number, rewards

    def close(self) -> None:
        """Leave the cluster."""
        self.leave()
