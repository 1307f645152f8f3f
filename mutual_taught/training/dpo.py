"""DPO: TRL's trainer and losses over packed pairs with stored reference log-probs."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import torch
from datasets import Dataset
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from trl import DPOConfig, DPOTrainer

from mutual_taught.checks import preflight
from mutual_taught.config.learning import Dpo
from mutual_taught.models.load import Policy, load_policy
from mutual_taught.models.packed.forward import policy_pass
from mutual_taught.models.packed.rows import Group
from mutual_taught.training import lora
from mutual_taught.training.jobs import TrainingJob, exporter
from mutual_taught.training.loop import Export, Outcome, Watch, run_trainer
from mutual_taught.training.packed import Packed, Pair, collate, compute_in
from mutual_taught.training.settings import Recipe, arguments, total_steps

CURVE = (
    "step",
    "loss",
    "learning_rate",
    "grad_norm",
    "rewards/accuracies",
    "rewards/margins",
    "rewards/chosen",
    "rewards/rejected",
    "chosen_logp_change",
)
REFERENCE = ("ref_chosen_logps", "ref_rejected_logps")


class Alone(NamedTuple):
    """Stands in for the accelerator while TRL computes its loss: gathers from this process alone.

    TRL gathers a number of every pair for its metrics, which needs as many pairs in every process.
    Ours are counted pair by pair in `log`.
    """

    device: torch.device

    def gather(self, values: Tensor) -> Tensor:
        """Give the values back."""
        return values

    def gather_for_metrics(self, values: Tensor) -> Tensor:
        """Give the values back."""
        return values


class PackedDPOTrainer(Packed, DPOTrainer):  # type: ignore[misc]
    """DPOTrainer whose forward pass runs over packed rows.

    Differs from stock: data arrive tokenised and with reference log-probs, so no reference model
    is loaded and nothing is dropped or cut; chosen and rejected share their prompt in one
    unpadded row; a batch is split under a token budget, each part weighted by its pairs. The
    loss itself is TRL's own code, on the log-probs found here, and on the load-balancing loss of a
    mixture of experts where TRL adds one.
    """

    def _precompute_ref_logps(self, dataset: Dataset, *_: Any) -> Dataset:
        # They are in the data; TRL would run the reference here, over padded pairs.
        return dataset

    def packed_loss(self, model: nn.Module, pairs: Sequence[Pair], counted: bool = True) -> Tensor:
        """Give the mean loss over pairs; note their rewards if they are to be counted."""
        where = self.accelerator.device
        groups = [group(pair) for pair in pairs]
        logps, balance = policy_pass(model, groups, where, self.aux_loss_enabled)
        # Branches come pair by pair; TRL halves its batch: all chosen first, then all rejected.
        order = logps[0::2] + logps[1::2]
        padded = pad_sequence(order, batch_first=True)
        lengths = torch.tensor([len(part) for part in order], device=where)
        # TRL drops the mask's first column, because a sequence's first token has no log-prob. Ours
        # begin with the first token of the response, so a column is put before them.
        mask = torch.arange(padded.shape[1] + 1, device=where)[None] <= lengths[:, None]
        mask[:, 0] = False
        # TRL counts entropy, mean logits and top-1 hits only for metrics, which `log` drops.
        zeros = torch.zeros_like(padded, dtype=torch.float32)
        outputs = SimpleNamespace(
            log_probs=padded,
            entropy=zeros,
            mean_logits=zeros,
            is_top1=zeros.bool(),
            aux_loss=balance,
        )
        reference = [_column(pairs, name, where) for name in REFERENCE]
        # Of the ids and the attention mask only the shape and the sum are read: for labels, which
        # `outputs` does without, and for a count of tokens, which `seen_by_all` makes.
        stand_in = {
            "input_ids": mask.long(),
            "attention_mask": torch.ones(1),
            "completion_mask": mask.long(),
            **dict(zip(REFERENCE, reference, strict=True)),
        }
        if counted:
            sums = padded.detach().sum(dim=1).chunk(2)
            own = [self.beta * (s - r) for s, r in zip(sums, reference, strict=True)]
            self.see(pairs, own[0], own[1])
        # The forward pass is made, so TRL's loss is given a model that hands out its result.
        accelerator, self.accelerator = self.accelerator, Alone(where)
        try:
            loss: Tensor = self._compute_loss(lambda **_: outputs, stand_in, return_outputs=False)
        finally:
            self.accelerator = accelerator
        return loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log what the pairs of a step gave, each counted once.

        `chosen_logp_change` is log pi(y_w) - log pi_ref(y_w) in nats, which beta does not scale.
        """
        self._metrics["train"].clear()
        if seen := self.seen_by_all():
            _, chosen, rejected, _ = zip(*seen, strict=True)
            both = list(zip(chosen, rejected, strict=True))
            self._metrics["train"] |= {
                "rewards/chosen": list(chosen),
                "rewards/rejected": list(rejected),
                "rewards/accuracies": [float(better > worse) for better, worse in both],
                "rewards/margins": [better - worse for better, worse in both],
                "chosen_logp_change": [reward / self.beta for reward in chosen],
            }
        super().log(logs, start_time)


def group(pair: Pair) -> Group:
    """Lay out a pair: its prompt, then chosen and rejected."""
    return Group(pair["prompt_ids"], [pair["chosen_ids"], pair["rejected_ids"]])


def _column(pairs: Sequence[Pair], name: str, where: torch.device) -> Tensor:
    return torch.tensor([pair[name] for pair in pairs], dtype=torch.float32, device=where)


def config(recipe: Recipe[Dpo], work: Path) -> DPOConfig:
    """Build TRL's configuration: one place for every setting that decides the result."""
    dpo = recipe.settings
    return DPOConfig(
        **arguments(recipe, work),
        beta=dpo.beta,
        loss_type=[dpo.loss_type],
        label_smoothing=dpo.label_smoothing,
        precompute_ref_log_probs=True,
    )


def dataset(pairs: Iterable[Pair]) -> Dataset:
    """Lay out pairs for training.

    Args:
        pairs: `pair` (id), `prompt_ids`, `chosen_ids`, `rejected_ids` (the sampled tokens),
            `ref_chosen_logps`, `ref_rejected_logps`; at least one.
    """
    columns: dict[str, list[Any]] = defaultdict(list)
    for pair in pairs:
        for name, value in pair.items():
            columns[name].append(value)
        columns["size"].append(group(pair).size)
    return Dataset.from_dict(columns)


def train_policy(
    policy: Policy, pairs: Dataset, recipe: Recipe[Dpo], work: Path, export: Export
) -> Outcome:
    """Update a policy by DPO on its ranked pairs.

    Args:
        policy: pi_{t-1} (or pi_0, with `dpo.start`), weights in float32; it is trained in place.
        pairs: of `dataset`.
        recipe: loss, rates, batch; precision and processes; the seed.
        work: folder for resumable checkpoints.
        export: called with the model, its weights and the step at every `save_steps` and after
            the last step.

    Returns:
        The logged steps.

    Source: Mutual-Taught, E-step, equation 4; DPO (arXiv 2305.18290), equation 7.
    """
    dpo, training, seed = recipe
    if training.lora:
        lora.adapt(policy.model, training.lora, seed)
    compute_in(policy.model, training.precision)
    trainer = PackedDPOTrainer(
        model=policy.model,
        args=config(recipe, work),
        data_collator=collate,
        train_dataset=pairs,
        processing_class=policy.tokenizer,
    )
    trainer.token_budget = dpo.token_budget
    watch = Watch(trainer, total_steps(len(pairs), dpo), dpo.save_steps, export)
    return run_trainer(trainer, work, CURVE, training, watch)


def learn(job: TrainingJob, place: Path) -> Outcome:
    """Train a policy as a job says: see `jobs.train_here`."""
    learner = load_policy(job.start, "float32", job.rows)
    preflight.require(preflight.policy(learner), job.start)
    export = exporter(job, learner, place, job.recipe.settings.keep_checkpoints)
    return train_policy(learner, job.pairs, job.recipe, place, export)
