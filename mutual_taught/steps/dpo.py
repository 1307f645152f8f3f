"""DPO on tables: the kept pairs in, candidate policies out."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
from transformers import PreTrainedTokenizerBase

from mutual_taught.artifacts import joins, tables
from mutual_taught.artifacts.files import link_tree, write_json
from mutual_taught.artifacts.joins import sides
from mutual_taught.artifacts.manifests import STEP, STEPS, read_manifest, read_steps, step_of
from mutual_taught.checks.policies import compare_policy
from mutual_taught.config.blocks import Tokens
from mutual_taught.config.learning import Dpo
from mutual_taught.models import chat
from mutual_taught.models.load import load_tokenizer
from mutual_taught.models.precision import settle
from mutual_taught.pipeline import work
from mutual_taught.training import launch
from mutual_taught.training.dpo import dataset
from mutual_taught.training.export import update_metrics
from mutual_taught.training.jobs import TrainingJob
from mutual_taught.training.loop import Outcome
from mutual_taught.training.settings import Recipe


class DpoInputs(NamedTuple):
    """The tables of an E-step: ranked pairs, the responses they name, and their prompts."""

    ranked: pa.Table
    responses: pa.Table
    prompts: pa.Table


def train_candidates(
    inputs: DpoInputs, policy: Path, out: Path, recipe: Recipe[Dpo], tokens: Tokens
) -> Outcome:
    """Train candidate policies, going on from an interrupted run.

    Args:
        inputs: pairs, responses and prompts.
        policy: folder of pi_{t-1}, or of pi_0 where `start` says so.
        out: folder of the iteration, whose name is t; candidates go to
            `out/checkpoints/step-NNNNNN`.
        recipe: what decides the training.
        tokens: limits.

    Returns:
        The logged steps.
    """
    recipe = recipe._replace(training=settle(recipe.training))
    rows, training = compare_policy(policy, tokens).rows, recipe.training
    made_by = {
        "stage": f"dpo@{out.name}",
        "policy": read_manifest(policy).digest,
        "dpo": recipe.settings.model_dump(),
        "training": training.decides(),
        "seed": recipe.seed,
        **tables.digests(ranked_pairs=inputs.ranked, responses=inputs.responses),
    }
    with work.folder(f"dpo@{out.name}", {**made_by, "all": training.computes()}) as place:
        pairs = dataset(dpo_pairs(inputs, load_tokenizer(policy)))
        outcome = launch.train(TrainingJob("policy", policy, pairs, recipe, made_by, rows), place)
        link_candidates(place / "checkpoints", out / "checkpoints")
        return outcome


def link_candidates(made: Path, out: Path) -> None:
    """Take the candidates out of the work in progress, and list their steps."""
    steps = sorted(map(step_of, made.iterdir()))
    for step in steps:
        link_tree(made / STEP.format(step), out / STEP.format(step))
    write_json(out / STEPS, {"steps": steps})


def dpo_pairs(inputs: DpoInputs, tokenizer: PreTrainedTokenizerBase) -> list[dict[str, Any]]:
    """Lay out the kept pairs as DPO trains on them: the sampled token ids, nothing appended."""
    ranked, responses, prompts = inputs
    kept = ranked.filter(ranked["kept"])
    ids = kept["prompt_id"].to_pylist()
    asked = joins.align(prompts, ids, Path("the policy split"))["messages"].to_pylist()
    width = len(responses) // len(ranked)
    chosen, rejected = (side.to_pylist() for side in sides(ranked, responses, "token_ids", width))
    return [
        {
            "pair": prompt,
            "prompt_ids": chat.prompt_tokens(tokenizer, messages, prompt),
            "chosen_ids": better,
            "rejected_ids": worse,
            "ref_chosen_logps": logps[0],
            "ref_rejected_logps": logps[1],
        }
        for prompt, messages, better, worse, logps in zip(
            ids,
            asked,
            chosen,
            rejected,
            zip(
                kept["reference_chosen_logps"].to_pylist(),
                kept["reference_rejected_logps"].to_pylist(),
                strict=True,
            ),
            strict=True,
        )
    ]


def metrics(outcome: Outcome, checkpoints: Path) -> Mapping[str, float]:
    """Describe a DPO run by its last logged step, and what the candidates kept of their updates."""
    last = outcome.curve[-1]
    return {
        "active": 1.0,
        "steps": float(outcome.steps),
        "loss": last["loss"],
        "reward_accuracy": last["rewards/accuracies"],
        "reward_margin": last["rewards/margins"],
        "chosen_logp_change": last["chosen_logp_change"],
        **update_metrics([checkpoints / STEP.format(step) for step in read_steps(checkpoints)]),
    }
