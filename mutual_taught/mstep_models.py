"""Reward training on tables: pairs in, a reward model out."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from mutual_taught import models, mstep, preflight, tables, train_reward, work
from mutual_taught.blocks import RewardOptimisation, Tokens, Training
from mutual_taught.files import link_tree, read_manifest
from mutual_taught.precision import settle
from mutual_taught.training import Outcome, Pair


def train(
    pairs: pa.Table, splits: Path, begin: Path, folder: Path, iteration: str,
    settings: RewardOptimisation, training: Training, tokens: Tokens, seed: int,
) -> Outcome:  # fmt: skip
    """Train r_t on the mix, from r_0 (or r_{t-1}), going on from an interrupted run."""
    parent, training = read_manifest(begin), settle(training)
    fingerprint = {
        "reward_model": parent.digest, "settings": settings.model_dump(), "seed": seed,
        "training": training.model_dump(), **tables.digests(reward_pairs=pairs),
    }  # fmt: skip
    asked = pa.concat_tables(
        tables.read(splits / f"{name}.parquet", tables.PROMPTS).replace_schema_metadata()
        for name in ("policy", "reward")
    )
    messages = tables.align(asked, pairs["prompt_id"].to_pylist(), splits)["messages"]
    with work.folder(f"train_rm@{iteration}", fingerprint) as place:
        model = models.load_reward_model(begin, "float32")
        preflight.require(preflight.reward_model(model), begin)
        joined = pairs.append_column("messages", messages)
        ready = tokenised(model, pairs["pair_id"].to_pylist(), joined, tokens)
        return fit(
            model, ready, settings, training, seed, place, folder, parent.base,
            parent.digest, {"stage": f"train_rm@{iteration}", **fingerprint},
        )  # fmt: skip


def tokenised(
    model: models.RewardModel, names: Iterable[str], pairs: pa.Table, tokens: Tokens
) -> list[Pair]:
    """Render pairs (`messages`, `chosen`, `rejected`) as scoring does."""
    columns = (pairs[name].to_pylist() for name in ("messages", "chosen", "rejected"))
    return [
        train_reward.tokenise(model, name, messages, chosen, rejected, tokens.max_length)
        for name, messages, chosen, rejected in zip(names, *columns, strict=True)
    ]


def fit(
    model: models.RewardModel, pairs: list[Pair], settings: RewardOptimisation, training: Training,
    seed: int, place: Path, folder: Path, base: str, parent: str, made_by: Mapping[str, Any],
) -> Outcome:  # fmt: skip
    """Train a loaded reward model in `place` and link the result to `folder`."""

    def export(trained: Any, step: int) -> None:
        models.export(
            trained, model.tokenizer, place / "model", training.export_dtype, "reward_model",
            base, parent, {**made_by, "step": step},
        )  # fmt: skip

    outcome = train_reward.train_reward(model, pairs, settings, training, seed, place, export)
    link_tree(place / "model", folder)
    return outcome


def metrics(met: pa.Table, outcome: Outcome) -> Mapping[str, float]:
    """Describe a reward-model run: its last step, and every pair exactly as it was met."""
    last = outcome.curve[-1]
    return {
        "active": 1.0,
        "steps": float(outcome.steps),
        "loss": last["loss"],
        "accuracy": last["accuracy"],
        "margin": last["margin"],
        **mstep.met(met),
    }
