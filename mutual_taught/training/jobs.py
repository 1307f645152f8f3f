"""A training as a thing of its own: made in this process, or in several that a launcher starts."""

import importlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

from datasets import Dataset, load_from_disk

from mutual_taught.artifacts.files import Json, read_json, write_json
from mutual_taught.artifacts.manifests import STEP, read_manifest
from mutual_taught.config.learning import BaseRewardModel, Dpo, Training, TrainRm
from mutual_taught.models.load import Policy, RewardModel
from mutual_taught.models.packed.whole import Rows
from mutual_taught.training.export import save_model, with_base
from mutual_taught.training.loop import Export, Outcome
from mutual_taught.training.rounding import Rounding, Weights, snapshot
from mutual_taught.training.settings import Recipe

Kind = Literal["policy", "reward_model", "new_reward_model"]
JOB, PAIRS, OUTCOME = "job.json", "pairs", "outcome.json"
SETTINGS: dict[str, Callable[..., Dpo | TrainRm | BaseRewardModel]] = {
    "policy": Dpo,
    "reward_model": TrainRm,
    "new_reward_model": BaseRewardModel,
}


# By name: an edit of one trainer does not change what the other one is made of.
TRAINERS = {
    "policy": "mutual_taught.training.dpo",
    "reward_model": "mutual_taught.training.reward",
    "new_reward_model": "mutual_taught.training.reward",
}


class TrainingJob(NamedTuple):
    """What a training starts from and what decides it, as it may be handed to other processes.

    kind: a policy's DPO, a reward model's training, or that of a new head on a policy. start: the
    model's folder. pairs: of `dpo.dataset` or `reward.dataset`. recipe: what decides the training;
    its settings are of the kind's block. made_by: what the result's manifest says of its making.
    rows: how the model reads conversations. base: r_0's folder, if `recipe.settings.average` of its
    weights is in those that are exported.
    """

    kind: Kind
    start: Path
    pairs: Dataset
    recipe: Recipe[Any]
    made_by: Json
    rows: Rows = "packed"
    base: Path | None = None


def train_here(job: TrainingJob, place: Path) -> Outcome:
    """Train in this process, which may be one of several, going on from an interrupted run.

    Args:
        job: what to train.
        place: folder of the work in progress: resumable checkpoints, and the result. Policies go
            to `place/checkpoints/step-NNNNNN`, a reward model to `place/model`.
    """
    trainer = importlib.import_module(TRAINERS[job.kind])
    outcome: Outcome = trainer.learn(job, place)
    return outcome


def exporter(
    job: TrainingJob, learner: Policy | RewardModel, place: Path, keep: int | None
) -> Export:
    """Make what writes the weights of a step; only the first of several processes calls it.

    Args:
        job: what is trained.
        learner: as it is loaded, before it learns.
        place: folder of the work in progress.
        keep: how many candidates stay; None for all.
    """
    parent = read_manifest(job.start)
    dtype = job.recipe.training.export_dtype
    first = os.environ.get("RANK", "0") == "0"
    start = snapshot(learner.model) if first and dtype != "float32" else {}

    def export(model: Any, weights: Weights, step: int) -> None:
        steps = place / "checkpoints"
        folder = steps / STEP.format(step) if job.kind == "policy" else place / "model"
        kind = "policy" if job.kind == "policy" else "reward_model"
        if job.base:
            weights = with_base(model, weights, job.base, job.recipe.settings.average)
        # With the start's digest, so that the lots of one iteration are not those of the next.
        key = f"{job.recipe.seed}|{parent.digest}|{step}"
        save_model(
            model,
            weights,
            learner.tokenizer,
            folder,
            Rounding(dtype, key, start),
            {
                "kind": kind,
                "base": parent.base,
                "parent": parent.digest,
                "made_by": {**job.made_by, "step": step},
            },
        )
        if keep:
            keep_last(steps, keep)

    return export


def keep_last(folder: Path, count: int) -> None:
    """Delete all candidates but the last `count`, so that a long run does not fill the disk."""
    for path in sorted(folder.iterdir())[:-count]:
        shutil.rmtree(path)


def write_job(job: TrainingJob, place: Path) -> None:
    """Write a job where other processes can read it."""
    job.pairs.save_to_disk(place / PAIRS)
    write_json(
        place / JOB,
        {
            "kind": job.kind,
            "start": str(job.start),
            "settings": job.recipe.settings.model_dump(),
            "training": job.recipe.training.model_dump(),
            "seed": job.recipe.seed,
            "made_by": job.made_by,
            "rows": job.rows,
            "base": str(job.base) if job.base else None,
        },
    )


def read_job(place: Path) -> TrainingJob:
    """Read a job that another process wrote."""
    said = read_json(place / JOB)
    settings = SETTINGS[said["kind"]](**said["settings"])
    return TrainingJob(
        said["kind"],
        Path(said["start"]),
        load_from_disk(place / PAIRS),
        Recipe(settings, Training(**said["training"]), said["seed"]),
        said["made_by"],
        said["rows"],
        Path(said["base"]) if said["base"] else None,
    )


def write_outcome(outcome: Outcome, place: Path) -> None:
    """Write what came of a job, when all it exports is there: it is not made again."""
    write_json(place / OUTCOME, outcome._asdict())


def read_outcome(place: Path) -> Outcome:
    """Read what came of a job."""
    said = read_json(place / OUTCOME)
    pairs = [(step, [(name, a, b) for name, a, b in rows]) for step, rows in said["pairs"]]
    return Outcome(said["curve"], said["steps"], pairs)
