"""Reward training on tables: pairs in, a reward model out."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import pyarrow as pa
from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from mutual_taught import agreement, launch, models, mstep, tables, train_reward, work
from mutual_taught.blocks import RewardOptimisation, Tokens, Training
from mutual_taught.files import link_tree, read_manifest
from mutual_taught.jobs import Job
from mutual_taught.precision import settle
from mutual_taught.training import Outcome


def train(
    pairs: pa.Table, splits: Path, begin: Path, folder: Path, iteration: str,
    settings: RewardOptimisation, training: Training, tokens: Tokens, seed: int,
) -> Outcome:  # fmt: skip
    """Train r_t on the mix, from r_0 (or r_{t-1}), going on from an interrupted run."""
    training = settle(training)
    rows = agreement.reward_model(begin, tokens).rows
    made_by = {
        "stage": f"train_rm@{iteration}", "reward_model": read_manifest(begin).digest,
        "settings": settings.model_dump(), "seed": seed, "training": training.decides(),
        **tables.digests(reward_pairs=pairs),
    }  # fmt: skip
    asked = pa.concat_tables(
        tables.read(splits / f"{name}.parquet", tables.PROMPTS).replace_schema_metadata()
        for name in ("policy", "reward")
    )
    messages = tables.align(asked, pairs["prompt_id"].to_pylist(), splits)["messages"]
    with work.folder(f"train_rm@{iteration}", {**made_by, "all": training.model_dump()}) as place:
        joined = pairs.append_column("messages", messages)
        tokenizer = models.scoring_tokenizer(begin)
        ready = tokenised(tokenizer, pairs["pair_id"].to_pylist(), joined, tokens)
        job = Job("reward_model", begin, ready, settings, training, seed, made_by, rows)
        outcome = launch.train(job, place)
        link_tree(place / "model", folder)
        return outcome


def tokenised(
    tokenizer: PreTrainedTokenizerBase, names: Iterable[str], pairs: pa.Table, tokens: Tokens
) -> Dataset:
    """Render pairs (`messages`, `chosen`, `rejected`) as scoring does, by a model's tokenizer."""
    columns = (pairs[name].to_pylist() for name in ("messages", "chosen", "rejected"))
    return train_reward.dataset(
        train_reward.tokenise(tokenizer, name, messages, chosen, rejected, tokens.max_length)
        for name, messages, chosen, rejected in zip(names, *columns, strict=True)
    )


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
