"""Whether trainings met the pairs they should have, in as many steps, and say so."""

from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mutual_taught.artifacts import files, tables
from mutual_taught.artifacts.manifests import MANIFEST, STEPS, read_manifest, read_steps
from mutual_taught.audit import faults, schedule
from mutual_taught.audit.faults import Fault, Faults
from mutual_taught.audit.provenance import checkpoints
from mutual_taught.audit.run import CheckedIteration
from mutual_taught.config import learning, params
from mutual_taught.steps import train_rm
from mutual_taught.training import dpo, reward
from mutual_taught.training.export import update_metrics
from mutual_taught.training.settings import total_steps

LAST = {
    "loss": "loss",
    "reward_accuracy": "rewards/accuracies",
    "reward_margin": "rewards/margins",
    "chosen_logp_change": "chosen_logp_change",
}
ROUNDING = 1e-4  # of means that training takes in float32, and that are taken here in float64


def policy(of: CheckedIteration) -> Faults:
    """DPO met all kept pairs, left the candidates it should have, and says so."""
    if not of.began:
        return
    settings = params.load(learning.Dpo, of.key)
    kept = pc.sum(of.table(tables.RANKED_PAIRS)["kept"]).as_py()
    planned = total_steps(kept, settings)
    yield from _left(of, candidates(planned, settings), kept)
    curve = schedule.read_curve(of.here / "curves" / "dpo.csv", dpo.CURVE)
    yield from _dpo_curve(of, curve, planned, settings)
    trained = {
        "active": 1.0,
        "steps": float(planned),
        **{name: float(curve[column][-1]) for name, column in LAST.items()},
        **update_metrics(checkpoints(of.here)),
    }
    yield from faults.numbers(of.metrics("dpo"), files.read_json(of.metrics("dpo")), trained)


def _left(of: CheckedIteration, expected: list[int], kept: int) -> Faults:
    """The candidates are of these steps, and say so."""
    place = of.here / "checkpoints"
    actual = read_steps(place)
    if actual != expected:
        yield Fault(place / STEPS, "steps", str(actual), f"{expected}, for {kept} kept pairs")
    for folder, step in zip(checkpoints(of.here), actual, strict=True):
        yield from _made_in(folder, step)


def _made_in(folder: Path, step: int) -> Faults:
    """A trained model says in how many steps it was made."""
    actual = read_manifest(folder).made_by.get("step")
    if actual != step:
        yield Fault(folder / MANIFEST, "made_by step", str(actual), str(step))


def _dpo_curve(
    of: CheckedIteration, curve: schedule.Curve, planned: int, settings: learning.Dpo
) -> Faults:
    """A curve has all steps, and margins and changes that follow from its rewards."""
    path = of.here / "curves" / "dpo.csv"
    yield from schedule.steps(path, curve, planned, settings)
    margins = curve["rewards/chosen"] - curve["rewards/rejected"]
    yield from schedule.close(path, curve, "rewards/margins", margins, ROUNDING)
    change = curve["rewards/chosen"] / settings.beta
    yield from schedule.close(path, curve, "chosen_logp_change", change, ROUNDING / settings.beta)


def candidates(planned: int, settings: learning.Dpo) -> list[int]:
    """List the steps whose policies are candidates: every so many, and the last."""
    due = sorted({*range(settings.save_steps, planned, settings.save_steps), planned})
    return due[-settings.keep_checkpoints :] if settings.keep_checkpoints else due


def reward_model(of: CheckedIteration) -> Faults:
    """Every epoch met every pair of the mix once, and the curve is that of these pairs."""
    if not of.active:
        return
    metrics, settings = of.metrics("train_rm"), params.load(learning.TrainRm, of.key)
    if settings.fixed:
        idle = {"active": 1.0, "steps": 0.0}
        yield from faults.numbers(metrics, files.read_json(metrics), idle)
        return
    data, mix = of.table(tables.REWARD_TRAINING), of.table(tables.REWARD_PAIRS)
    each = total_steps(len(mix), settings) // settings.epochs
    yield from _rows(of, data, each)
    full, last = settings.batch_size, len(mix) - settings.batch_size * (each - 1)
    plan = ([full] * (each - 1) + [last]) * settings.epochs
    yield from _met(of, data, plan, settings.epochs)
    curve = schedule.read_curve(of.here / "curves" / "train_rm.csv", reward.CURVE)
    yield from _reward_curve(of, curve, len(plan), settings)
    yield from _made_in(of.here / "reward_model", len(plan))
    trained = {
        "active": 1.0,
        "steps": float(len(plan)),
        **train_rm.accuracy_by_epoch(data),
        **{name: float(curve[name][-1]) for name in ("loss", "accuracy", "margin")},
        **update_metrics([of.here / "reward_model"]),
    }
    yield from faults.numbers(metrics, files.read_json(metrics), trained)


def _reward_curve(
    of: CheckedIteration, curve: schedule.Curve, planned: int, settings: learning.TrainRm
) -> Faults:
    """A curve has all steps, and means that follow from the rewards of the pairs."""
    path = of.here / "curves" / "train_rm.csv"
    data, mix = of.table(tables.REWARD_TRAINING), of.table(tables.REWARD_PAIRS)
    yield from schedule.steps(path, curve, planned, settings)
    if len(curve["step"]) == planned:
        for name, values in means(data, settings, planned, _weights(data, mix)).items():
            yield from schedule.close(path, curve, name, values, ROUNDING)


def means(
    data: pa.Table,
    settings: learning.RewardOptimisation,
    planned: int,
    weights: NDArray[np.float64],
) -> dict[str, NDArray[np.float64]]:
    """Take from the pairs what the curve of a reward model says of each step.

    Args:
        data: table `reward_training`: the rewards of every pair, as a step met it.
        settings: margin and centring of the loss.
        planned: number of steps.
        weights: how much each row counts in the loss, shape (rows,).

    Returns:
        Loss, accuracy, margin and mean reward of every step, shape (planned,) each.
    """
    chosen, rejected = (data[f"reward_{side}"].to_numpy() for side in ("chosen", "rejected"))
    loss = np.logaddexp(0, -(chosen - rejected - settings.margin))
    values = {
        "loss": loss + settings.center_rewards * (chosen + rejected) ** 2,
        "accuracy": (chosen > rejected).astype(np.float64),
        "margin": chosen - rejected,
        "mean_reward": (chosen + rejected) / 2,
    }
    at = data["step"].to_numpy() - 1

    def mean(one: NDArray[np.float64], by: NDArray[np.float64]) -> NDArray[np.float64]:
        total = np.bincount(at, by, minlength=planned)[:planned]
        return np.bincount(at, by * one, minlength=planned)[:planned] / np.where(total, total, 1)

    alike = np.ones(len(at))
    return {name: mean(one, weights if name == "loss" else alike) for name, one in values.items()}


def _weights(data: pa.Table, mix: pa.Table) -> NDArray[np.float64]:
    """Give how much each row of `reward_training` counts in the loss, by the mix it is of."""
    if "weight" not in mix.column_names:
        return np.ones(len(data))
    where = pc.index_in(data["pair_id"], mix["pair_id"].combine_chunks())
    weights: NDArray[np.float64] = mix["weight"].take(where).to_numpy()
    return weights


def _rows(of: CheckedIteration, data: pa.Table, each: int) -> Faults:
    """Margins, epochs and what was right follow from the other columns."""
    margins = data["reward_chosen"].to_numpy() - data["reward_rejected"].to_numpy()
    expected = {
        "reward_margin": margins,
        "correct": margins > 0,
        "epoch": (data["step"].to_numpy() - 1) // each + 1,
    }
    path, table = of.path(tables.REWARD_TRAINING), tables.REWARD_TRAINING
    for name, values in expected.items():
        bad = data[name].to_numpy() != values
        yield from faults.first(path, table, data, name, bad, "what the other columns give")


def _met(of: CheckedIteration, data: pa.Table, plan: Sequence[int], epochs: int) -> Faults:
    """Steps have as many pairs as a batch, and every epoch has every pair of the mix once."""
    path = of.path(tables.REWARD_TRAINING)
    counted = np.bincount(data["step"].to_numpy())[1:].tolist()
    for step, (actual, size) in enumerate(zip_longest(counted, plan), 1):
        if actual != size:
            yield Fault(path, f"step {step}", f"of {actual} pairs", f"{size}")
    ids = _sorted(of.table(tables.REWARD_PAIRS)["pair_id"])
    for epoch in range(1, epochs + 1):
        rows = data.filter(pc.equal(data["epoch"], epoch))
        if not _sorted(rows["pair_id"]).equals(ids):
            yield Fault(path, f"epoch {epoch}", "other pairs", "every pair of the mix once")


def _sorted(column: pa.ChunkedArray) -> pa.Array:
    return column.combine_chunks().sort()
