"""What each `training.export_dtype` leaves of an update at a preset's rates: a simulation.

AdamW runs at the preset's learning rate and schedule over independent weights, normal(0, 0.02) on
bfloat16's grid, as released models are. Every weight has a gradient of its own, normal(0, 1), the
same in every step, and noise beside it, `--noise` times as large, drawn anew in every step. With
the metrics of `mutual_taught.training.rounding` it prints, for steps at which a model is exported,
the share of weights that change, the share of the update that is kept, and the cosine.

    python -m bench.exports
"""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import click
import torch
from torch import Tensor
from transformers import get_scheduler

from mutual_taught.config import params
from mutual_taught.config.learning import Dpo, ExportDtype, Optimisation, TrainRm
from mutual_taught.training.rounding import Rounding, kept, stored

PAIRS = {"dpo": 19380, "train_rm": 38760}  # of the paper preset: docs/planning.md
STD = 0.02
HEAD = f"{'stage':9}{'step':>5}{'noise':>6}  {'export':20}{'changed':>8}{'kept':>8}{'cosine':>8}"


def trained(start: Tensor, settings: Optimisation, steps: int, noise: float) -> Iterator[Tensor]:
    """Give the weights after each step."""
    weight = torch.nn.Parameter(start.clone())
    optimizer = torch.optim.AdamW([weight], settings.learning_rate, weight_decay=0.0)
    warmup = math.ceil(settings.warmup_ratio * steps)
    schedule = get_scheduler(settings.scheduler, optimizer, warmup, steps)
    draws = torch.Generator().manual_seed(2)
    signal = torch.randn(start.shape, generator=draws)
    for _ in range(steps):
        weight.grad = signal + noise * torch.randn(start.shape, generator=draws)
        optimizer.step()
        schedule.step()
        yield weight.detach()


def show(stage: str, settings: Optimisation, every: int, noise: float, count: int) -> None:
    """Print a training's exports."""
    start = STD * torch.randn(count, generator=torch.Generator().manual_seed(1))
    start = start.bfloat16().float()
    steps = math.ceil(PAIRS[stage] / settings.batch_size) * settings.epochs
    for step, weights in enumerate(trained(start, settings, steps, noise), 1):
        if step % every and step < steps:
            continue
        for dtype in get_args(ExportDtype):
            made = stored({"w": weights}, Rounding(dtype, str(step)), {})["w"].float()
            found = kept({"w": start}, {"w": weights}, {"w": made})
            changed = float((made != start).float().mean())
            share, cosine = found.values()
            where = f"{stage:9}{step:5}{noise:6g}  {dtype:20}"
            click.echo(f"{where}{changed:8.3f}{share:8.3f}{cosine:8.3f}")


@click.command()
@click.option("--preset", default="presets/paper.yaml", show_default=True, type=Path)
@click.option("--noise", multiple=True, default=(0.0, 3.0, 10.0), show_default=True)
@click.option("--weights", default=1_000_000, show_default=True)
def main(preset: Path, noise: tuple[float, ...], weights: int) -> None:
    """Print what every format leaves of the updates of DPO and of the reward model."""
    dpo, train_rm = params.load(Dpo, path=preset), params.load(TrainRm, path=preset)
    click.echo(HEAD)
    for level in noise:
        show("dpo", dpo, dpo.save_steps, level, weights)
        show("train_rm", train_rm, 10**9, level, weights)


if __name__ == "__main__":
    main()
