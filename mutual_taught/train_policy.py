"""DPO: TRL's trainer and losses over packed pairs with stored reference log-probs."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from trl import DPOConfig, DPOTrainer

from mutual_taught import lora
from mutual_taught.blocks import Dpo, Training
from mutual_taught.models import Policy, packed_logps
from mutual_taught.packing import Group
from mutual_taught.training import (
    Export,
    Outcome,
    Pair,
    Watch,
    arguments,
    collate,
    packed_step,
    run,
    total_steps,
)

CURVE = (
    "step", "loss", "learning_rate", "grad_norm", "rewards/accuracies", "rewards/margins",
    "rewards/chosen", "rewards/rejected",
)  # fmt: skip
UNMEASURED = ("entropy", "logits/chosen", "logits/rejected", "mean_token_accuracy")


class PackedDPOTrainer(DPOTrainer):  # type: ignore[misc]
    """DPOTrainer whose forward pass runs over packed rows.

    Differs from stock: data arrive tokenised and with reference log-probs, so no reference model
    is loaded and nothing is dropped or cut; chosen and rejected share their prompt in one
    unpadded row; a batch is split under a token budget, each part weighted by its pairs. The
    loss itself is TRL's own code, on the log-probs found here.
    """

    token_budget = 1024

    def _prepare_dataset(self, dataset: Dataset, *_: Any) -> Dataset:
        return dataset

    def _precompute_ref_logps(self, dataset: Dataset, *_: Any) -> Dataset:
        return dataset

    def training_step(
        self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Any = None
    ) -> Tensor:
        """Train on one batch of pairs, part by part."""
        return packed_step(self, model, inputs["pairs"])

    def _compute_loss(self, model: nn.Module, inputs: Any, return_outputs: bool = False) -> Tensor:
        pairs: Sequence[Pair] = inputs["pairs"]
        where = self.accelerator.device
        logps = packed_logps(model, [group(pair) for pair in pairs], where)
        order = logps[0::2] + logps[1::2]
        padded = pad_sequence(order, batch_first=True)
        lengths = torch.tensor([len(part) for part in order], device=where)
        mask = torch.arange(padded.shape[1] + 1, device=where)[None] <= lengths[:, None]
        mask[:, 0] = False
        zeros = torch.zeros_like(padded, dtype=torch.float32)
        outputs = SimpleNamespace(
            log_probs=padded, entropy=zeros, mean_logits=zeros, is_top1=zeros.bool()
        )
        stand_in = {
            "input_ids": mask.long(),
            "attention_mask": torch.ones(sum(group(pair).size for pair in pairs)),
            "completion_mask": mask.long(),
            "ref_chosen_logps": _column(pairs, "ref_chosen_logps", where),
            "ref_rejected_logps": _column(pairs, "ref_rejected_logps", where),
        }
        loss: Tensor = super()._compute_loss(lambda **_: outputs, stand_in, return_outputs)
        return loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log what was measured: the packed pass gives no entropy and no mean logits."""
        for name in UNMEASURED:
            self._metrics["train"].pop(name, None)
        super().log(logs, start_time)

    def create_model_card(self, *_: Any, **__: Any) -> None:
        """Write no model card."""


def group(pair: Pair) -> Group:
    """Lay out a pair: its prompt, then chosen and rejected."""
    return Group(pair["prompt_ids"], [pair["chosen_ids"], pair["rejected_ids"]])


def _column(pairs: Sequence[Pair], name: str, where: torch.device) -> Tensor:
    return torch.tensor([pair[name] for pair in pairs], dtype=torch.float32, device=where)


def config(dpo: Dpo, training: Training, seed: int, work: Path) -> DPOConfig:
    """Build TRL's configuration: one place for every setting that decides the result."""
    return DPOConfig(
        **arguments(dpo, training, seed, work),
        beta=dpo.beta,
        loss_type=[dpo.loss_type],
        label_smoothing=dpo.label_smoothing,
        precompute_ref_log_probs=True,
    )


def train_policy(
    policy: Policy, pairs: Sequence[Pair], dpo: Dpo, training: Training, seed: int, work: Path,
    export: Export,
) -> Outcome:  # fmt: skip
    """Update a policy by DPO on its ranked pairs.

    Args:
        policy: pi_{t-1}, weights in float32; it is trained in place.
        pairs: `pair` (id), `prompt_ids`, `chosen_ids`, `rejected_ids` (the sampled tokens),
            `ref_chosen_logps`, `ref_rejected_logps`; at least one.
        dpo: loss, rates, batch.
        training: precision, resume.
        seed: order of the pairs.
        work: folder for resumable checkpoints.
        export: called with the model and the step at every `save_steps` and after the last step.

    Returns:
        The logged steps.

    Source: Mutual-Taught, E-step; DPO (arXiv 2305.18290), equation 7.
    """
    columns: dict[str, list[Any]] = defaultdict(list)
    for pair in pairs:
        for name, value in pair.items():
            columns[name].append(value)
        columns["size"].append(group(pair).size)
    steps = total_steps(len(pairs), dpo)
    if training.lora:
        lora.adapt(policy.model, training.lora, seed)
    policy.model.train()
    trainer = PackedDPOTrainer(
        model=policy.model,
        args=config(dpo, training, seed, work),
        data_collator=collate,
        train_dataset=Dataset.from_dict(columns),
        processing_class=policy.tokenizer,
        callbacks=[Watch("dpo", steps, dpo.save_steps, export)],
    )
    trainer.token_budget = dpo.token_budget
    return run(trainer, work, CURVE)
