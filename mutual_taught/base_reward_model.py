"""The base reward model r_0: copied, or trained on the seed preferences."""

from pathlib import Path

import pyarrow.compute as pc

from mutual_taught import models, preflight, start, tables, work
from mutual_taught.blocks import BaseRewardModel, Model, Tokens, Training
from mutual_taught.files import read_manifest, write_manifest
from mutual_taught.mstep_models import fit, tokenised
from mutual_taught.precision import settle

SEED_PART = "train"


def prepare_base(
    policy: Path, preferences: Path, out: Path, source: Model, settings: BaseRewardModel,
    training: Training, tokens: Tokens, seed: int,
) -> None:  # fmt: skip
    """Put r_0 into `out/reward_model`: copied, or trained on the seed preferences."""
    folder = out / "reward_model"
    if source.source not in ("trained", "tiny"):
        folder.mkdir(parents=True)
        base = start.fetch(source, folder)
        write_manifest(folder, "reward_model", base, None, {"stage": "prepare_reward_model"})
        loaded = models.load_reward_model(folder, "bfloat16")
        preflight.require(preflight.reward_model(loaded), folder)
        return
    pairs = tables.read(preferences, tables.GOLD_PAIRS)
    chosen = pairs.filter(pc.equal(pairs["part"], SEED_PART))
    parent, training = read_manifest(policy), settle(training)
    fingerprint = {
        "policy": parent.digest, "settings": settings.model_dump(), "seed": seed,
        "training": training.model_dump(), "preferences": tables.rows_digest(chosen),
    }  # fmt: skip
    with work.folder("prepare_reward_model", fingerprint) as place:
        model = models.new_reward_model(policy, seed)
        ready = tokenised(model, chosen["prompt_id"].to_pylist(), chosen, tokens)
        fit(
            model, ready, settings, training, seed, place, folder, parent.base,
            parent.digest, {"stage": "prepare_reward_model", **fingerprint},
        )  # fmt: skip
