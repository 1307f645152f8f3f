"""What both trainers change of TRL's: a batch is trained on as packed rows, shared by processes."""

import functools
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType, gather_object
from datasets import Dataset
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import TrainerState

from mutual_taught.errors import TrainingError
from mutual_taught.models.packed.forward import learn
from mutual_taught.models.packed.rows import fill
from mutual_taught.models.precision import to_compute_in

Pair = Mapping[str, Any]
Seen = tuple[str, float, float, int]
SHARDED = (DistributedType.FSDP, DistributedType.DEEPSPEED)


def collate(pairs: list[dict[str, Any]]) -> dict[str, Any]:
    """Keep a batch as the list of its pairs; it is packed when it is trained on."""
    return {"pairs": pairs}


def mass(pairs: Sequence[Pair]) -> float:
    """Sum the weights of pairs; one that says none weighs 1."""
    return float(sum(pair.get("weight", 1.0) for pair in pairs))


def weighted_mean(values: Tensor, pairs: Sequence[Pair]) -> Tensor:
    """Average a value of each pair, shape (pairs,), by the pairs' weights, whose sum is above 0."""
    weights = torch.tensor([pair.get("weight", 1.0) for pair in pairs]).to(values)
    return (weights * values).sum() / weights.sum()


def check_finite(loss: torch.Tensor, pairs: Sequence[Pair], step: int) -> None:
    """Stop at a loss that is no number.

    Raises:
        TrainingError: naming the step and the pairs.
    """
    if not torch.isfinite(loss):
        names = ", ".join(str(pair["pair"]) for pair in pairs[:4])
        raise TrainingError(
            f"step {step + 1}: loss is {loss.item()} on pairs {names}; expected a number; "
            "lower the learning rate, or use training.precision float32"
        )


def compute_in(model: nn.Module, precision: str) -> None:
    """Let a model's forward pass compute in `training.precision`, its weights in float32.

    This is torch's autocast inside the model's own forward pass, for every launcher. accelerate's
    own bfloat16 would cast the weights of FSDP and DeepSpeed before they are gathered, and with
    them gradients while they are summed over processes, rewards and the loss; DeepSpeed turns an
    autocast around the model off.
    """
    forward = model.forward
    where = next(model.parameters()).device.type
    kind = to_compute_in(precision)

    @functools.wraps(forward)
    def inside(*arguments: Any, **options: Any) -> Any:
        # No cast is kept for a second use: in shards a layer's weights are given back after it.
        with torch.autocast(where, kind, enabled=kind != torch.float32, cache_enabled=False):
            return forward(*arguments, **options)

    model.forward = inside


class Packed:
    """What our two trainers change of TRL's: data arrive tokenised, a batch is trained on packed.

    Every process of a training is given the whole batch and takes its share of the pairs, so the
    batch's size, the number of steps and the order of pairs do not depend on how many there are.
    """

    token_budget = 1024
    accelerator: Accelerator
    state: TrainerState
    _metrics: dict[str, dict[str, list[float]]]

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.seen: list[Seen] = []
        self.tokens = 0

    def _prepare_dataset(self, dataset: Dataset, *_: Any) -> Dataset:
        # TRL would render and tokenise texts; ours are the very tokens that were sampled or scored.
        return dataset

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Give all batches whole to every process."""
        loader: DataLoader[Any] = super().get_train_dataloader()  # type: ignore[misc]
        # accelerate's sampler would deal batches out to the processes, a batch each, and so make
        # steps of several batches. Told that there is one process, it deals all of them to each.
        if self.accelerator.num_processes > 1:
            shard: Any = loader.batch_sampler
            shard.num_processes, shard.process_index, shard.even_batches = 1, 0, False
        return loader

    def training_step(
        self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Any = None
    ) -> Tensor:
        """Train on one batch of pairs, part by part."""
        return packed_step(self, model, inputs["pairs"])

    def see(self, pairs: Sequence[Pair], chosen: Tensor, rejected: Tensor) -> None:
        """Note the rewards of pairs, shape (pairs,) each, as this step met them."""
        columns = chosen.detach().tolist(), rejected.detach().tolist()
        for pair, better, worse in zip(pairs, *columns, strict=True):
            self.seen.append((pair["pair"], better, worse, pair["size"]))

    def seen_by_all(self) -> list[Seen]:
        """Collect what all processes noted since the last time."""
        found: list[Seen] = gather_object(self.seen)
        self.seen = []
        self.tokens += sum(size for *_, size in found)
        self._metrics["train"]["num_tokens"] = [self.tokens]
        return found

    def create_model_card(self, *_: Any, **__: Any) -> None:
        """Write no model card."""


def shares(sizes: Sequence[int], processes: int) -> list[list[int]]:
    """Share out pairs over processes, so that all have about as many tokens.

    The largest pair goes first, each to the process with the fewest tokens so far.

    Args:
        sizes: tokens of each pair.
        processes: how many there are.

    Returns:
        Places of each process's pairs, in order; some have none if pairs are few.
    """
    loads = [0] * processes
    found: list[list[int]] = [[] for _ in loads]
    for place in sorted(range(len(sizes)), key=lambda place: (-sizes[place], place)):
        lightest = loads.index(min(loads))
        loads[lightest] += sizes[place]
        found[lightest].append(place)
    return [sorted(places) for places in found]


def packed_step(trainer: Any, model: nn.Module, pairs: Sequence[Pair]) -> Tensor:
    """Run forward and backward over a batch in parts under the trainer's token budget.

    The batch's loss is the mean over its pairs by their weights: each part counts by what its pairs
    weigh together.

    Of several processes each runs over its share. All make the same number of passes, because each
    pass gathers weights in shards; one with fewer parts repeats a pair with weight 0.

    Copies of the model sum their gradients over processes once, in the last pass. Shards sum them
    in every pass: until then each process would hold the gradients of all weights.

    Returns:
        This process's part of the batch's mean loss, times the number of processes: gradients
        and losses are averaged over them.
    """
    learn(model)
    accelerator: Accelerator = trainer.accelerator
    total = torch.zeros((), device=accelerator.device)
    split = [
        list(fill(share, (pairs[place]["size"] for place in share), trainer.token_budget))
        for share in shares([pair["size"] for pair in pairs], accelerator.num_processes)
    ]
    parts = split[accelerator.process_index]
    passes = max(map(len, split))
    for number in range(passes):
        last = number == passes - 1
        part = [pairs[place] for place in (parts[number] if number < len(parts) else [0])]
        share = mass(part) * accelerator.num_processes / mass(pairs)
        weight = share if number < len(parts) else 0.0
        # By this DeepSpeed knows whether to make its step within the backward pass: once a batch.
        accelerator.gradient_state._set_sync_gradients(last)
        sums = last or accelerator.distributed_type in SHARDED
        with nullcontext() if sums else accelerator.no_sync(model):
            loss = trainer.packed_loss(model, part, counted=number < len(parts)) * weight
            check_finite(loss, part, trainer.state.global_step)
            accelerator.backward(loss)
        total += loss.detach()
    return total
