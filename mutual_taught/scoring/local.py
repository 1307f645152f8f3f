"""The scorer of this process."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from mutual_taught.checks import preflight
from mutual_taught.checks.rewards import compare_reward_model
from mutual_taught.config import blocks
from mutual_taught.models.load import RewardModel, load_reward_model
from mutual_taught.models.packed.rows import Group
from mutual_taught.models.threads import two_at_a_time
from mutual_taught.scoring import rewards
from mutual_taught.scoring.rewards import Rewards
from mutual_taught.terminal.progress import Counted, ignore


class Local:
    """Packed scoring in this process: reward.py."""

    tokenizer: PreTrainedTokenizerBase

    def __init__(self, settings: blocks.Score, tokens: blocks.Tokens) -> None:
        self.settings, self.tokens = settings, tokens
        self.folder: Path | None = None
        self.reward_model: RewardModel | None = None

    def load(self, reward_model: Path) -> None:
        """Load a reward model, unless it is the one loaded last."""
        if reward_model == self.folder:
            return
        self.close()
        rows = compare_reward_model(reward_model, self.tokens).rows
        self.reward_model = load_reward_model(reward_model, self.settings.dtype, rows)
        self.tokenizer = self.reward_model.tokenizer
        preflight.require(preflight.reward_model(self.reward_model), reward_model)
        self.folder = reward_model

    def score(
        self, shards: Mapping[int, Sequence[Group]], seen: Counted = ignore
    ) -> Iterator[tuple[int, Rewards]]:
        """Score the shards."""
        reward_model, budget = self.reward_model, self.settings.token_budget
        assert reward_model is not None

        def shard(model: PreTrainedModel, groups: Sequence[Group], seen: Counted) -> Rewards:
            return rewards.score(reward_model._replace(model=model), groups, budget, seen)

        yield from two_at_a_time(reward_model.model, shards, shard, seen)

    def close(self) -> None:
        """Let go of the weights."""
        self.folder = self.reward_model = None
