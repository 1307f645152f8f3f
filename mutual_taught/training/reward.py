"""Bradley-Terry reward training: TRL's trainer over packed pairs."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from datasets import Dataset
from torch import Tensor, nn
from torch.nn.functional import logsigmoid
from transformers import PreTrainedTokenizerBase
from trl import RewardConfig, RewardTrainer

from mutual_taught.artifacts import tables
from mutual_taught.checks import preflight
from mutual_taught.config.blocks import Tokens
from mutual_taught.config.learning import RewardOptimisation
from mutual_taught.errors import InputError
from mutual_taught.models.chat import scored_tokens
from mutual_taught.models.load import RewardModel, give_padding, load_reward_model, new_reward_model
from mutual_taught.models.message import Message
from mutual_taught.models.packed.forward import packed_rewards
from mutual_taught.models.packed.rows import Group, read_until, share_prefix
from mutual_taught.training import lora
from mutual_taught.training.jobs import TrainingJob, exporter
from mutual_taught.training.loop import Export, Outcome, Watch, run_trainer
from mutual_taught.training.packed import Packed, Pair, collate, compute_in, weighted_mean
from mutual_taught.training.settings import Recipe, arguments, total_steps

CURVE = ("step", "loss", "learning_rate", "grad_norm", "accuracy", "margin", "mean_reward")


class PackedRewardTrainer(Packed, RewardTrainer):  # type: ignore[misc]
    """RewardTrainer whose forward pass runs over packed rows, scored at the last token.

    Differs from stock: data arrive tokenised, nothing is dropped; what both sides of a pair
    begin with is read once; pooling is by length, as in scoring.
    """

    margin = 0.0

    def packed_loss(self, model: nn.Module, pairs: Sequence[Pair], counted: bool = True) -> Tensor:
        """Give the mean over the pairs of -log sigmoid(r(x, chosen) - r(x, rejected) - margin).

        Centring adds its coefficient times the mean of (r(x, chosen) + r(x, rejected))^2
        (arXiv 2312.09244, section 2). Both means are by the pairs' weights. Rewards are noted if
        they are to be counted.
        """
        groups = [Group(pair["prefix"], [pair["chosen"], pair["rejected"]]) for pair in pairs]
        rewards = packed_rewards(model, groups, self.accelerator.device).reshape(-1, 2)
        if counted:
            self.see(pairs, rewards[:, 0], rewards[:, 1])
        loss = -logsigmoid(rewards[:, 0] - rewards[:, 1] - self.margin)
        mean = weighted_mean(loss, pairs)
        if centring := self.args.center_rewards_coefficient:
            mean = mean + centring * weighted_mean(rewards.sum(1).square(), pairs)
        return mean

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log a step's means, and keep its pairs with the trainer's state, for an exact table."""
        seen = self.seen_by_all()
        both = [(better, worse) for _, better, worse, _ in seen]
        if seen:
            self._metrics["train"] |= {
                "accuracy": [float(better > worse) for better, worse in both],
                "margin": [better - worse for better, worse in both],
                "mean_reward": [(better + worse) / 2 for better, worse in both],
            }
        super().log(logs, start_time)
        if seen:
            self.state.log_history[-1]["pairs"] = [pair[:3] for pair in seen]


def tokenise(
    tokenizer: PreTrainedTokenizerBase,
    name: str,
    messages: Sequence[Message],
    chosen: str,
    rejected: str,
    max_length: int,
) -> dict[str, Any]:
    """Render a pair as scoring does.

    Raises:
        InputError: a side has more than `max_length` tokens.
    """
    sides = [scored_tokens(tokenizer, messages, text) for text in (chosen, rejected)]
    longest = max(map(len, sides))
    if longest > max_length:
        raise InputError(
            f"pair {name}: {longest} tokens; expected at most tokens.max_length {max_length}; "
            "raise it or drop the prompt"
        )
    group = share_prefix([read_until(tokens, tokenizer.pad_token_id) for tokens in sides])
    first, second = group.branches
    return {
        "pair": name,
        "prefix": list(group.prefix),
        "chosen": list(first),
        "rejected": list(second),
        "size": group.size,
    }


def as_met(outcome: Outcome, epochs: int) -> pa.Table:
    """Lay out the rewards of every pair as training met it, before the step that learnt from it.

    Args:
        outcome: of a training.
        epochs: how many it made; each meets every pair once.

    Returns:
        Rows of `reward_training`.
    """
    each = outcome.steps // epochs
    rows = [
        {
            "pair_id": name,
            "step": step,
            "epoch": (step - 1) // each + 1,
            "reward_chosen": chosen,
            "reward_rejected": rejected,
            "reward_margin": chosen - rejected,
            "correct": chosen > rejected,
        }
        for step, pairs in outcome.pairs
        for name, chosen, rejected in pairs
    ]
    return pa.Table.from_pylist(rows, tables.REWARD_TRAINING.schema)


def config(recipe: Recipe[RewardOptimisation], work: Path) -> RewardConfig:
    """Build TRL's configuration."""
    return RewardConfig(
        **arguments(recipe, work),
        center_rewards_coefficient=recipe.settings.center_rewards or None,
    )


def dataset(pairs: Iterable[Pair]) -> Dataset:
    """Lay out pairs of `tokenise` for training; at least one."""
    columns: dict[str, list[Any]] = defaultdict(list)
    for pair in pairs:
        for name, value in pair.items():
            columns[name].append(value)
    return Dataset.from_dict(columns)


def train_reward(
    reward_model: RewardModel,
    pairs: Dataset,
    recipe: Recipe[RewardOptimisation],
    work: Path,
    export: Export,
) -> Outcome:
    """Train a reward model on preference pairs.

    Args:
        reward_model: where it starts, weights in float32; it is trained in place.
        pairs: of `dataset`.
        recipe: margin, rates, batch; precision and processes; the seed.
        work: folder for resumable checkpoints.
        export: called with the model, its weights and the step after the last step.

    Returns:
        The logged steps.

    Source: Mutual-Taught, M-step; the Bradley-Terry loss.
    """
    settings, training, seed = recipe
    if training.lora:
        lora.adapt(reward_model.model, training.lora, seed)
    compute_in(reward_model.model, training.precision)
    trainer = PackedRewardTrainer(
        model=reward_model.model,
        args=config(recipe, work),
        data_collator=collate,
        train_dataset=pairs,
        processing_class=reward_model.tokenizer,
    )
    trainer.token_budget, trainer.margin = settings.token_budget, settings.margin
    watch = Watch(trainer, total_steps(len(pairs), settings), None, export)
    return run_trainer(trainer, work, CURVE, training, watch)


def tokenised(
    tokenizer: PreTrainedTokenizerBase, names: Iterable[str], pairs: pa.Table, tokens: Tokens
) -> Dataset:
    """Render pairs (`messages`, `chosen`, `rejected`) as scoring does, by a model's tokenizer.

    A `weight` goes with its pair.
    """
    columns = (pairs[name].to_pylist() for name in ("messages", "chosen", "rejected"))
    rows = (
        tokenise(tokenizer, name, messages, chosen, rejected, tokens.max_length)
        for name, messages, chosen, rejected in zip(names, *columns, strict=True)
    )
    if "weight" not in pairs.column_names:
        return dataset(rows)
    weights = pairs["weight"].to_pylist()
    return dataset({**row, "weight": weight} for row, weight in zip(rows, weights, strict=True))


def learn(job: TrainingJob, place: Path) -> Outcome:
    """Train a reward model as a job says, or a new head on a policy: see `jobs.train_here`."""
    if job.kind == "new_reward_model":
        model = new_reward_model(job.start, job.recipe.seed, job.recipe.settings.layers, job.rows)
    else:
        model = load_reward_model(job.start, "float32", job.rows)
        if model.tokenizer.pad_token_id is None:  # TRL would choose the one a conversation ends in
            give_padding(model.tokenizer)
        preflight.require(preflight.reward_model(model), job.start)
    export = exporter(job, model, place, None)
    return train_reward(model, job.pairs, job.recipe, place, export)
