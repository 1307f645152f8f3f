"""What a training is told: optimiser, rates, steps, trackers, as TRL's trainers take it."""

import importlib.util
import math
import os
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import torch

from mutual_taught.config.learning import Optimisation, Training
from mutual_taught.errors import InputError

TRACKERS = ("tensorboard", "wandb", "trackio")
OPTIMIZERS = {"adamw": "adamw_torch_fused", "adamw_8bit": "adamw_8bit"}
S = TypeVar("S", bound=Optimisation)


class Recipe(NamedTuple, Generic[S]):
    """What decides a training beside the model that it starts from and its pairs.

    settings: the block of params.yaml of this training. training: precision, memory, processes, for
    all trainings alike. seed: the run's; it orders the pairs and begins adapters.
    """

    settings: S
    training: Training
    seed: int


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


def arguments(recipe: Recipe[Any], work: Path) -> dict[str, Any]:
    """Give the arguments TRL's two configs share."""
    settings, training, seed = recipe
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
        "bf16": False,  # `packed.compute_in` does it
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
