"""Whether trainings met the pairs they should have, in as many steps, and say so."""

import csv
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mutual_taught.artifacts import files, tables
from mutual_taught.artifacts.manifests import read_steps
from mutual_taught.audit import faults
from mutual_taught.audit.faults import Fault, Faults
from mutual_taught.audit.provenance import checkpoints
from mutual_taught.audit.run import Iteration
from mutual_taught.config import blocks, params
from mutual_taught.errors import MissingFileError
from mutual_taught.steps import train_rm
from mutual_taught.training.export import update_metrics


def policy(of: Iteration) -> Faults:
    """The numbers of DPO are those of its curve's last step."""
    if not of.began:
        return
    metrics, steps = of.metrics("dpo"), read_steps(of.here / "checkpoints")
    curve = ("loss", "rewards/accuracies", "rewards/margins")
    last = _last(of.here / "curves" / "dpo.csv", curve)
    named = dict(zip(("loss", "reward_accuracy", "reward_margin"), last.values(), strict=True))
    kept = update_metrics(checkpoints(of.here)) if steps else {}
    trained = {"active": 1.0, "steps": float(max(steps, default=0)), **named, **kept}
    yield from faults.numbers(metrics, files.read_json(metrics), trained)


def reward_model(of: Iteration) -> Faults:
    """Every epoch met every pair of the mix once."""
    if not of.active:
        return
    metrics, settings = of.metrics("train_rm"), params.load(blocks.TrainRm, of.key)
    if settings.fixed:
        idle = {"active": 1.0, "steps": 0.0}
        yield from faults.numbers(metrics, files.read_json(metrics), idle)
        return
    data, mix = of.table(tables.REWARD_TRAINING), of.table(tables.REWARD_PAIRS)
    each = -(-len(mix) // settings.batch_size)
    yield from _rows(of, data, each)
    full, last = settings.batch_size, len(mix) - settings.batch_size * (each - 1)
    plan = ([full] * (each - 1) + [last]) * settings.epochs
    yield from _met(of, data, plan, settings.epochs)
    right_numbers = {
        "active": 1.0,
        "steps": float(len(plan)),
        **train_rm.accuracy_by_epoch(data),
        **_last(of.here / "curves" / "train_rm.csv", ("loss", "accuracy", "margin")),
        **update_metrics([of.here / "reward_model"]),
    }
    yield from faults.numbers(metrics, files.read_json(metrics), right_numbers)


def _rows(of: Iteration, data: pa.Table, each: int) -> Faults:
    """Margins, epochs and what was right follow from the other columns."""
    margins = data["reward_chosen"].to_numpy() - data["reward_rejected"].to_numpy()
    right = {
        "reward_margin": margins,
        "correct": margins > 0,
        "epoch": (data["step"].to_numpy() - 1) // each + 1,
    }
    path, table = of.path(tables.REWARD_TRAINING), tables.REWARD_TRAINING
    for name, values in right.items():
        bad = data[name].to_numpy() != values
        yield from faults.first(path, table, data, name, bad, "what the other columns give")


def _met(of: Iteration, data: pa.Table, plan: Sequence[int], epochs: int) -> Faults:
    """Steps have as many pairs as a batch, and every epoch has every pair of the mix once."""
    path = of.path(tables.REWARD_TRAINING)
    counted = np.bincount(data["step"].to_numpy())[1:].tolist()
    for step, (found, size) in enumerate(zip_longest(counted, plan), 1):
        if found != size:
            yield Fault(path, f"step {step}", f"of {found} pairs", f"{size}")
    ids = _sorted(of.table(tables.REWARD_PAIRS)["pair_id"])
    for epoch in range(1, epochs + 1):
        rows = data.filter(pc.equal(data["epoch"], epoch))
        if not _sorted(rows["pair_id"]).equals(ids):
            yield Fault(path, f"epoch {epoch}", "other pairs", "every pair of the mix once")


def _sorted(column: pa.ChunkedArray) -> pa.Array:
    return column.combine_chunks().sort()


def _last(path: Path, names: Sequence[str]) -> dict[str, float]:
    """Read numbers of a curve's last step."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            row = list(csv.DictReader(file))[-1]
    except (OSError, IndexError, UnicodeDecodeError):
        raise MissingFileError(f"{path}: holds no curve; run dvc repro") from None
    return {name: float(row[name]) for name in names}
