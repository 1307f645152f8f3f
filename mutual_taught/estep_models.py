"""DPO on tables: the kept pairs in, candidate policies out."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from mutual_taught import chat, models, preflight, tables, work
from mutual_taught.blocks import Dpo, Training
from mutual_taught.estep import sides
from mutual_taught.files import STEP, link_tree, read_manifest, write_json
from mutual_taught.precision import settle
from mutual_taught.train_policy import train_policy
from mutual_taught.training import Outcome


def train(
    ranked: pa.Table, responses: pa.Table, prompts: pa.Table, policy: Path, out: Path,
    iteration: str, dpo: Dpo, training: Training, seed: int,
) -> Outcome:  # fmt: skip
    """Train candidate policies into `out/step-NNNNNN`, going on from an interrupted run."""
    parent, training = read_manifest(policy), settle(training)
    fingerprint = {
        "policy": parent.digest, "dpo": dpo.model_dump(), "training": training.model_dump(),
        "seed": seed, **tables.digests(ranked_pairs=ranked, responses=responses),
    }  # fmt: skip
    with work.folder(f"dpo@{iteration}", fingerprint) as place:
        learner = models.load_policy(policy, "float32")
        preflight.require(preflight.policy(learner), policy)
        pairs = dpo_pairs(ranked, responses, prompts, learner)

        def export(model: Any, step: int) -> None:
            folder = place / "checkpoints" / STEP.format(step)
            models.export(
                model, learner.tokenizer, folder, training.export_dtype, "policy", parent.base,
                parent.digest, {"stage": f"dpo@{iteration}", "step": step, **fingerprint},
            )  # fmt: skip

            keep_last(place / "checkpoints", dpo.keep_checkpoints)

        outcome = train_policy(learner, pairs, dpo, training, seed, place, export)
        steps = sorted(int(path.name.split("-")[1]) for path in (place / "checkpoints").iterdir())
        for step in steps:
            link_tree(place / "checkpoints" / STEP.format(step), out / STEP.format(step))
        write_json(out / "steps.json", {"steps": steps})
        return outcome


def keep_last(folder: Path, count: int | None) -> None:
    """Delete all candidates but the last `count`, so that a long run does not fill the disk."""
    for path in sorted(folder.iterdir())[: -count if count else 0]:
        shutil.rmtree(path)


def dpo_pairs(
    ranked: pa.Table, responses: pa.Table, prompts: pa.Table, policy: models.Policy
) -> list[dict[str, Any]]:
    """Lay out the kept pairs as DPO trains on them: the sampled token ids, nothing appended."""
    kept = ranked.filter(ranked["kept"])
    ids = kept["prompt_id"].to_pylist()
    asked = tables.align(prompts, ids, Path("the policy split"))["messages"].to_pylist()
    chosen, rejected = sides(ranked, responses, "token_ids", len(responses) // len(ranked))
    return [
        {
            "pair": prompt,
            "prompt_ids": chat.prompt_tokens(policy.tokenizer, messages, prompt),
            "chosen_ids": better,
            "rejected_ids": worse,
            "ref_chosen_logps": logps[0],
            "ref_rejected_logps": logps[1],
        }
        for prompt, messages, better, worse, logps in zip(
            ids, asked, chosen, rejected,
            zip(kept["reference_chosen_logps"].to_pylist(),
                kept["reference_rejected_logps"].to_pylist(), strict=True),
            strict=True,
        )
    ]  # fmt: skip


def metrics(outcome: Outcome) -> Mapping[str, float]:
    """Describe a DPO run by its last logged step."""
    last = outcome.curve[-1]
    return {
        "active": 1.0,
        "steps": float(outcome.steps),
        "loss": last["loss"],
        "reward_accuracy": last["rewards/accuracies"],
        "reward_margin": last["rewards/margins"],
    }
