"""The base reward model r_0: copied, or trained on the seed preferences."""

from pathlib import Path

import pyarrow.compute as pc

from mutual_taught import agreement, launch, models, preflight, start, tables, work
from mutual_taught.blocks import BaseRewardModel, Model, Tokens, Training
from mutual_taught.files import link_tree, read_manifest, write_manifest
from mutual_taught.jobs import Job
from mutual_taught.mstep_models import tokenised
from mutual_taught.precision import settle

SEED_PART = "train"


def prepare_base(
    policy: Path, preferences: Path, out: Path, source: Model, settings: BaseRewardModel,
    training: Training, tokens: Tokens, seed: int,
) -> None:  # fmt: skip
    """Put r_0 into `out/reward_model`: copied, or trained on the seed preferences.

    Raises:
        InputError: a model does not see conversations of the greatest length whole.
    """
    preflight.require([preflight.sight(models.load_config(policy), tokens.max_length)], policy)
    folder = out / "reward_model"
    if source.source not in ("trained", "tiny"):
        folder.mkdir(parents=True)
        base = start.take(source, folder, "reward_model", tokens)
        said = {"stage": "prepare_reward_model", "date": tokens.date}
        write_manifest(folder, "reward_model", base, None, said)
        loaded = models.load_reward_model(folder, "bfloat16")
        preflight.require(preflight.reward_model(loaded), folder)
        agreement.reward_model(folder, tokens)
        preflight.require([preflight.sight(loaded.model.config, tokens.max_length)], folder)
        return
    pairs = tables.read(preferences, tables.GOLD_PAIRS)
    chosen = pairs.filter(pc.equal(pairs["part"], SEED_PART))
    training = settle(training)
    rows = agreement.new_reward_model(policy, tokens, settings.layers).rows
    made_by = {
        "stage": "prepare_reward_model", "policy": read_manifest(policy).digest,
        "settings": settings.model_dump(), "seed": seed, "training": training.decides(),
        "preferences": tables.rows_digest(chosen),
    }  # fmt: skip
    with work.folder("prepare_reward_model", {**made_by, "all": training.model_dump()}) as place:
        tokenizer = models.give_padding(models.load_tokenizer(policy))
        ready = tokenised(tokenizer, chosen["prompt_id"].to_pylist(), chosen, tokens)
        job = Job("new_reward_model", policy, ready, settings, training, seed, made_by, rows)
        launch.train(job, place)
        link_tree(place / "model", folder)
