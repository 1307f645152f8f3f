"""What DPO and reward training share: arguments, micro-batches, guards, resume, exports."""

import importlib.util
import math
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType, gather_object
from datasets import Dataset
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm import tqdm
from transformers import (
    PrinterCallback,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from mutual_taught.blocks import Optimisation, Training
from mutual_taught.errors import InputError, TrainingError
from mutual_taught.models import learn
from mutual_taught.packing import fill
from mutual_taught.progress import bar

COMPLETE = "COMPLETE"
TRACKERS = ("tensorboard", "wandb", "trackio")
OPTIMIZERS = {"adamw": "adamw_torch_fused", "adamw_8bit": "adamw_8bit"}
SHARDED = (DistributedType.FSDP, DistributedType.DEEPSPEED)
Pair = Mapping[str, Any]
Export = Callable[[Any, Mapping[str, Tensor], int], None]
Seen = tuple[str, float, float, int]


class Outcome(NamedTuple):
    """What a training run leaves: its logged steps, and the rewards of their pairs if any."""

    curve: list[dict[str, float]]
    steps: int
    pairs: list[tuple[int, list[tuple[str, float, float]]]]


def total_steps(pairs: int, settings: Optimisation) -> int:
    """Count optimiser steps: the last batch of an epoch may be smaller."""
    return math.ceil(pairs / settings.batch_size) * settings.epochs


def tracker(work: Path) -> str:
    """Name what training reports to besides its curve, from `MUTUAL_TAUGHT_REPORT_TO`.

    It is no parameter: where numbers are shown decides no result, so it must not run a stage
    again.

    Raises:
        InputError: an unknown name, or a package that is not installed.
    """
    name = os.environ.get("MUTUAL_TAUGHT_REPORT_TO") or "none"
    if name not in ("none", *TRACKERS):
        raise InputError(
            f"MUTUAL_TAUGHT_REPORT_TO is {name!r}; expected none or one of {', '.join(TRACKERS)}"
        )
    if name != "none" and importlib.util.find_spec(name) is None:
        raise InputError(
            f"MUTUAL_TAUGHT_REPORT_TO is {name}; it is not installed: pip install {name}"
        )
    logs = Path(os.environ.get("DVC_ROOT", ".")).absolute() / "logs" / work.parent.name
    os.environ["TENSORBOARD_LOGGING_DIR"] = str(logs)
    os.environ.setdefault("WANDB_DIR", str(logs.parent))
    if name == "wandb":
        os.environ.pop("WANDB_DISABLED", None)  # set for stages that did not ask for it
    return name


def optimizer(training: Training) -> str:
    """Name the optimiser as transformers does.

    Raises:
        InputError: its package is not installed.
    """
    if training.optimizer == "adamw_8bit" and importlib.util.find_spec("bitsandbytes") is None:
        raise InputError(
            "training.optimizer is adamw_8bit; bitsandbytes is not installed: "
            'pip install -e ".[bitsandbytes]", or say adamw'
        )
    return OPTIMIZERS[training.optimizer]


def arguments(settings: Optimisation, training: Training, seed: int, work: Path) -> dict[str, Any]:
    """Give the arguments TRL's two configs share."""
    return {
        "output_dir": str(work / "trainer"),
        "seed": seed % 2**32,
        "optim": optimizer(training),
        "learning_rate": settings.learning_rate,
        "lr_scheduler_type": settings.scheduler,
        "warmup_steps": settings.warmup_ratio,
        "num_train_epochs": settings.epochs,
        "per_device_train_batch_size": settings.batch_size,
        "gradient_accumulation_steps": 1,
        "max_grad_norm": settings.max_grad_norm,
        "bf16": training.precision == "bfloat16",
        "gradient_checkpointing": training.gradient_checkpointing,
        "use_cpu": not torch.cuda.is_available(),
        "ddp_find_unused_parameters": False,
        "dataloader_pin_memory": False,
        "save_strategy": "steps",
        "save_steps": training.resume_steps,
        "save_total_limit": 2,
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "report_to": tracker(work),
        "run_name": work.parent.name,
        "project": "mutual-taught",
        "disable_tqdm": True,
        "remove_unused_columns": False,
        "max_length": None,
        "disable_dropout": True,
    }


def collate(pairs: list[dict[str, Any]]) -> dict[str, Any]:
    """Keep a batch as the list of its pairs; it is packed when it is trained on."""
    return {"pairs": pairs}


def newest_complete(work: Path) -> str | None:
    """Find the last whole resumable checkpoint; half-written ones are deleted."""
    found: list[tuple[int, Path]] = []
    for path in (work / "trainer").glob("checkpoint-*"):
        if (path / COMPLETE).exists():
            found.append((int(path.name.split("-")[1]), path))
        else:
            shutil.rmtree(path)
    return str(max(found)[1]) if found else None


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
        return dataset

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Give all batches whole to every process."""
        loader: DataLoader[Any] = super().get_train_dataloader()  # type: ignore[misc]
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

    Of several processes each runs over its share. All make as many passes, for weights in shards
    are gathered in each; who has fewer parts runs over one again with weight 0.

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
        weight = len(part) * accelerator.num_processes / len(pairs) if number < len(parts) else 0.0
        accelerator.gradient_state._set_sync_gradients(last)
        with nullcontext() if last else accelerator.no_sync(model):
            with accelerator.autocast():
                loss = trainer.packed_loss(model, part, counted=number < len(parts)) * weight
            check_finite(loss, part, trainer.state.global_step)
            accelerator.backward(loss)
        total += loss.detach()
    return total


class Watch(TrainerCallback):  # type: ignore[misc]
    """Shows progress, stops at a gradient that is no number, marks and exports checkpoints."""

    def __init__(self, trainer: Any, steps: int, export_steps: int | None, export: Export) -> None:
        self.trainer, self.steps = trainer, steps
        self.export_steps, self.export = export_steps, export
        self.bar: tqdm[None] | None = None
        self.clock, self.tokens = 0.0, 0.0

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Open the bar where an interrupted run left it, in the first process."""
        if state.is_world_process_zero:
            self.bar = bar("training", self.steps, "step", state.global_step)
        self.clock, self.tokens = time.monotonic(), 0.0

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl,
        logs: dict[str, float] | None = None, **_: Any,
    ) -> None:  # fmt: skip
        """Check the gradient's norm of the step just made, before anything of it is saved."""
        if logs and "loss" in logs:
            if not math.isfinite(logs.get("grad_norm", 0.0)):
                raise TrainingError(
                    f"step {state.global_step}: gradient norm is {logs['grad_norm']}; expected a "
                    "number; lower the learning rate"
                )
            if self.bar:
                self.bar.set_postfix_str(self._describe(logs), refresh=False)

    def _describe(self, logs: Mapping[str, float]) -> str:
        """Say the step's loss, accuracy and tokens a second."""
        now, tokens = time.monotonic(), logs["num_tokens"]
        rate = (tokens - self.tokens) / max(now - self.clock, 1e-9)
        self.clock, self.tokens = now, tokens
        accuracy = logs.get("rewards/accuracies", logs.get("accuracy", math.nan))
        return f"loss {logs['loss']:.4f}, accuracy {accuracy:.2f}, {rate:,.0f} tokens/s"

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Export a candidate where one is due, and always the last, which is not to be resumed."""
        if self.bar:
            self.bar.update()
        due = self.export_steps and state.global_step % self.export_steps == 0
        if due or state.global_step == state.max_steps:
            accelerator, model = self.trainer.accelerator, self.trainer.model_wrapped
            weights = accelerator.get_state_dict(model)  # all processes have a part in it
            if state.is_world_process_zero:
                self.export(accelerator.unwrap_model(model), weights, state.global_step)
            accelerator.wait_for_everyone()
        if state.global_step == state.max_steps:
            control.should_save = False

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Mark a resumable checkpoint as whole, once all processes have written their parts."""
        self.trainer.accelerator.wait_for_everyone()
        if not state.is_world_process_zero:
            return
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        (folder / "training_args.bin").unlink(missing_ok=True)
        (folder / COMPLETE).touch()


def run(
    trainer: Any, work: Path, columns: Sequence[str], training: Training, watch: Watch
) -> Outcome:
    """Train to the end, from the newest whole checkpoint if there is one.

    Args:
        trainer: a TRL trainer.
        work: the stage's folder of work in progress.
        columns: what of each logged step goes into the curve.
        training: how many processes there are to be.
        watch: shows progress and exports.

    Raises:
        InputError: there are fewer processes, or more; an optimiser that cannot be in shards.
    """
    if (found := trainer.accelerator.num_processes) != training.processes:
        raise InputError(
            f"training.processes is {training.processes}; training.launcher {training.launcher} "
            f"made {found}; see docs/training.md for what runs on this machine"
        )
    kind = trainer.accelerator.distributed_type
    if training.optimizer == "adamw_8bit" and kind in SHARDED:
        raise InputError(
            f"training.optimizer is adamw_8bit; {training.accelerate_config} keeps weights in "
            "shards, whose moments are kept in 32 bits alone; say adamw"
        )
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(watch)
    try:
        trainer.train(resume_from_checkpoint=newest_complete(work))
    finally:
        if watch.bar:
            watch.bar.close()
    history = [entry for entry in trainer.state.log_history if "loss" in entry]
    curve = [{name: entry[name] for name in columns if name in entry} for entry in history]
    pairs = [(int(entry["step"]), entry["pairs"]) for entry in history if "pairs" in entry]
    return Outcome(curve, int(trainer.state.global_step), pairs)
