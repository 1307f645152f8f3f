"""Reference log-probs on tables: every kept pair under DPO's reference, once, before training."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mutual_taught.artifacts import joins, tables
from mutual_taught.artifacts.joins import sides
from mutual_taught.artifacts.manifests import read_manifest
from mutual_taught.checks import preflight
from mutual_taught.checks.policies import compare_policy
from mutual_taught.config.blocks import RankPairs, Tokens
from mutual_taught.models import chat
from mutual_taught.models.load import Policy, load_policy
from mutual_taught.models.packed.forward import reference_logps
from mutual_taught.models.packed.rows import Group
from mutual_taught.models.precision import settle
from mutual_taught.steps.rank_pairs import REFERENCE, Floats, compare_margins, sampled_logps
from mutual_taught.terminal.progress import bar

CHECKED = 32


def add_logps(
    ranked: pa.Table,
    responses: pa.Table,
    rewards: pa.Table,
    policy: Path,
    prompts: pa.Table,
    prompts_path: Path,
    settings: RankPairs,
    tokens: Tokens,
) -> tuple[pa.Table, dict[str, object], dict[str, float]]:
    """Add the log-probs of every kept pair's sides under DPO's reference.

    Args:
        ranked: table `ranked_pairs` without them.
        responses: table `responses`.
        rewards: table `rewards`, for its digest.
        policy: folder of the reference: pi_{t-1}, or pi_0.
        prompts: the policy splits.
        prompts_path: their file, for messages.
        settings: which reference, and how it is run.
        tokens: limits, up to which it was compared with a plain pass.

    Returns:
        Rows of `ranked_pairs`, what they were made from, and metrics.

    Raises:
        InputError: the sampler's log-probs are not those of the trainer's pass.
    """
    settings = settle(settings)
    rows_read = compare_policy(policy, tokens).rows
    reference = load_policy(policy, "float32", rows_read)
    preflight.require(preflight.policy(reference), policy)
    found: dict[str, float] = {}
    if settings.reference_logps == "sampler":
        logps = sampled_logps(ranked, responses)
        few = np.unique(np.linspace(0, len(logps) - 1, CHECKED).astype(int))
        kept = ranked.filter(ranked["kept"]).take(pa.array(few))
        measured = _measured(reference, kept, responses, prompts, prompts_path, settings)
        found = compare_margins(logps[few], measured, policy)
    else:
        kept = ranked.filter(ranked["kept"])
        logps = _measured(reference, kept, responses, prompts, prompts_path, settings)
    rows = np.flatnonzero(ranked["kept"].to_numpy())
    for side, name in enumerate(REFERENCE):
        column = np.full(len(ranked), np.nan)
        column[rows] = logps[:, side]
        ranked = ranked.append_column(name, pa.array(column, mask=np.isnan(column)))
    made_from: dict[str, object] = {
        "policy": read_manifest(policy).digest,
        "reference": settings.reference,
        "reference_logps": settings.reference_logps,
        "reference_dtype": settings.reference_dtype,
        "chosen": settings.chosen,
        **tables.digests(responses=responses, rewards=rewards),
    }
    return ranked, made_from, found


def _measured(
    reference: Policy,
    kept: pa.Table,
    responses: pa.Table,
    prompts: pa.Table,
    prompts_path: Path,
    settings: RankPairs,
) -> Floats:
    """Run the reference over pairs: (pairs, 2) log-probs."""
    names = kept["prompt_id"].to_pylist()
    asked = joins.align(prompts, names, prompts_path)["messages"].to_pylist()
    of_these = responses.filter(pc.is_in(responses["prompt_id"], kept["prompt_id"]))
    width = len(of_these) // len(kept)
    chosen, rejected = (side.to_pylist() for side in sides(kept, of_these, "token_ids", width))
    groups = [
        Group(chat.prompt_tokens(reference.tokenizer, messages, prompt), [better, worse])
        for prompt, messages, better, worse in zip(names, asked, chosen, rejected, strict=True)
    ]
    with bar("reference log-probs", len(groups), "pair") as progress:
        logps = reference_logps(
            reference, groups, settings.reference_dtype, settings.token_budget, progress.update
        )
    return np.array(logps)
