"""Reward training on tables: pairs in, a reward model out."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from mutual_taught.artifacts import joins, tables
from mutual_taught.artifacts.files import link_tree
from mutual_taught.artifacts.manifests import read_manifest
from mutual_taught.checks.rewards import compare_reward_model
from mutual_taught.config.blocks import Tokens
from mutual_taught.config.learning import TrainRm
from mutual_taught.models.load import scoring_tokenizer
from mutual_taught.models.precision import settle
from mutual_taught.pipeline import work
from mutual_taught.training import launch
from mutual_taught.training.export import update_metrics
from mutual_taught.training.jobs import TrainingJob
from mutual_taught.training.loop import Outcome
from mutual_taught.training.reward import tokenised
from mutual_taught.training.settings import Recipe

SPLITS = ("policy", "reward")


class Starts(NamedTuple):
    """The reward models that training may start from, as folders: r_0 and r_{t-1}."""

    base: Path
    previous: Path


class Mix(NamedTuple):
    """The pairs r_t learns from, table `reward_pairs`, and their conversations, by prompt."""

    pairs: pa.Table
    asked: pa.Table


def train_reward_model(
    mix: Mix, models: Starts, out: Path, recipe: Recipe[TrainRm], tokens: Tokens
) -> Outcome:
    """Train r_t on the mix, from r_0 (or r_{t-1}), going on from an interrupted run.

    With `average` a, the exported weights are (1 - a) of the trained ones and a of r_0.

    Args:
        mix: pairs and conversations.
        models: where the training may start.
        out: folder of the iteration, whose name is t; r_t goes to `out/reward_model`.
        recipe: what decides the training.
        tokens: limits.

    Returns:
        The logged steps.
    """
    recipe = recipe._replace(training=settle(recipe.training))
    settings, training, seed = recipe
    begin = models.base if settings.start == "base" else models.previous
    base = models.base if settings.average else None
    rows = compare_reward_model(begin, tokens).rows
    made_by = {
        "stage": f"train_rm@{out.name}",
        "reward_model": read_manifest(begin).digest,
        "settings": settings.model_dump(),
        "seed": seed,
        "training": training.decides(),
        **({"averaged_with": read_manifest(base).digest} if base else {}),
        **tables.digests(reward_pairs=mix.pairs),
    }
    ids = mix.pairs["prompt_id"].to_pylist()
    messages = joins.align(mix.asked, ids, Path("the prompts of the mix"))["messages"]
    with work.folder(f"train_rm@{out.name}", {**made_by, "all": training.computes()}) as place:
        joined = mix.pairs.append_column("messages", messages)
        tokenizer = scoring_tokenizer(begin)
        ready = tokenised(tokenizer, mix.pairs["pair_id"].to_pylist(), joined, tokens)
        job = TrainingJob("reward_model", begin, ready, recipe, made_by, rows, base)
        outcome = launch.train(job, place)
        link_tree(place / "model", out / "reward_model")
        return outcome


def conversations(splits: Path, seed_pairs: Path) -> pa.Table:
    """Read the conversations that a mix may hold: those of two splits, and of r_0's own pairs."""
    read = [tables.read(tables.split(name).path(splits), tables.PROMPTS) for name in SPLITS]
    read.append(tables.read(seed_pairs, tables.SEED_PAIRS))
    asked = [table.select(["prompt_id", "messages"]) for table in read]
    return pa.concat_tables(table.replace_schema_metadata() for table in asked)


def metrics(met: pa.Table, outcome: Outcome, folder: Path) -> Mapping[str, float]:
    """Describe a reward-model run: its last step, every pair exactly as it was met, its export."""
    last = outcome.curve[-1]
    return {
        "active": 1.0,
        "steps": float(outcome.steps),
        "loss": last["loss"],
        "accuracy": last["accuracy"],
        "margin": last["margin"],
        **accuracy_by_epoch(met),
        **update_metrics([folder]),
    }


def accuracy_by_epoch(table: pa.Table) -> dict[str, float]:
    """Give the exact accuracy over all pairs in the first and in the last epoch; a tie is wrong.

    Args:
        table: `reward_training`. In the first epoch no pair had been learnt from.
    """
    epochs = table["epoch"].to_numpy()
    correct = table["correct"].to_numpy()
    return {
        "accuracy_first_epoch": float(correct[epochs == epochs.min()].mean()),
        "accuracy_last_epoch": float(correct[epochs == epochs.max()].mean()),
    }
