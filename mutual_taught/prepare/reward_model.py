"""The base reward model r_0: copied, or trained on the seed preferences."""

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from transformers import PreTrainedTokenizerBase

from mutual_taught.artifacts import tables
from mutual_taught.artifacts.files import link_tree, write_metrics
from mutual_taught.artifacts.joins import counts
from mutual_taught.artifacts.manifests import read_manifest, write_manifest
from mutual_taught.checks import preflight
from mutual_taught.checks.rewards import compare_new_reward_model, compare_reward_model
from mutual_taught.config.blocks import Tokens
from mutual_taught.config.inputs import Model
from mutual_taught.config.learning import BaseRewardModel
from mutual_taught.errors import InputError
from mutual_taught.models.load import give_padding, load_reward_model, load_tokenizer
from mutual_taught.models.packed.conversations import Asked, fit_responses
from mutual_taught.models.precision import settle
from mutual_taught.pipeline import work
from mutual_taught.prepare import base_models
from mutual_taught.training import launch
from mutual_taught.training.jobs import TrainingJob
from mutual_taught.training.reward import tokenised
from mutual_taught.training.settings import Recipe

SEED_PART = "train"
METRICS = Path("metrics", "prepare_reward_model.json")


def take_base(source: Model, out: Path, tokens: Tokens) -> None:
    """Copy r_0 into `out/reward_model`; the table of pairs it was trained on has no rows.

    Raises:
        InputError: the model is not read as transformers reads it, in any way.
    """
    folder = out / "reward_model"
    folder.mkdir(parents=True)
    base = base_models.take(source, folder, "reward_model", tokens)
    taken_by = {"stage": "prepare_reward_model", "date": tokens.date}
    write_manifest(folder, "reward_model", base, None, taken_by)
    write_metrics(out / METRICS, {"active": 1.0, "rows": 0.0, "kept": 0.0})
    tables.empty(out, tables.SEED_PAIRS)
    loaded = load_reward_model(folder, "bfloat16")
    preflight.require(preflight.reward_model(loaded), folder)
    compare_reward_model(folder, tokens)


def train_base(
    policy: Path, preferences: Path, out: Path, recipe: Recipe[BaseRewardModel], tokens: Tokens
) -> None:
    """Train r_0 on the seed preferences into `out/reward_model`, from the policy with a new head.

    A seed preference with a side that does not fit is dropped, and counted in the metrics. Those
    that r_0 is trained on are written to `out/seed_pairs.parquet`.

    Args:
        policy: folder of pi_0.
        preferences: file of the seed preferences.
        out: folder of iteration 0.
        recipe: what decides the training.
        tokens: limits.
    """
    tokenizer = give_padding(load_tokenizer(policy))
    chosen, counted = fitting(preferences, tokenizer, tokens)
    write_metrics(out / METRICS, counted)
    tables.write(out, tables.SEED_PAIRS, chosen, {"max_length": tokens.max_length})
    recipe = recipe._replace(training=settle(recipe.training))
    settings, training, seed = recipe
    rows = compare_new_reward_model(policy, tokens, settings.layers).rows
    made_by = {
        "stage": "prepare_reward_model",
        "policy": read_manifest(policy).digest,
        "settings": settings.model_dump(),
        "seed": seed,
        "training": training.decides(),
        "preferences": tables.rows_digest(chosen),
    }
    with work.folder("prepare_reward_model", {**made_by, "all": training.computes()}) as place:
        ready = tokenised(tokenizer, chosen["prompt_id"].to_pylist(), chosen, tokens)
        job = TrainingJob("new_reward_model", policy, ready, recipe, made_by, rows)
        launch.train(job, place)
        link_tree(place / "model", out / "reward_model")


def fitting(
    preferences: Path, tokenizer: PreTrainedTokenizerBase, tokens: Tokens
) -> tuple[pa.Table, dict[str, float]]:
    """Read the seed preferences that r_0 learns from; a pair with a side that does not fit is out.

    Args:
        preferences: their file.
        tokenizer: the policy's, by which r_0 reads.
        tokens: limits.

    Returns:
        The pairs, and how many there are and were dropped, by reason.

    Raises:
        InputError: no pair fits.
    """
    pairs = tables.read(preferences, tables.GOLD_PAIRS)
    listed = pairs.filter(pc.equal(pairs["part"], SEED_PART))
    columns = (listed[name].to_pylist() for name in ("prompt_id", "messages", "chosen", "rejected"))
    reasons = [  # one a pair: that of a side, if either has one
        max(fit_responses(tokenizer, Asked(prompt, turns, texts), tokens.max_length).reasons)
        for prompt, turns, *texts in zip(*columns, strict=True)
    ]
    fits = [not reason for reason in reasons]
    if not any(fits):
        raise InputError(
            f"{preferences}: of {len(fits)} pairs to train on none fits tokens.max_length "
            f"{tokens.max_length} by the policy's tokenizer; expected at least one; raise it, or "
            "make others with mutual-taught seed-preferences"
        )
    counted = counts(pa.chunked_array([fits]), pa.chunked_array([reasons]))
    return listed.filter(pa.array(fits)), {"active": 1.0, **counted}
