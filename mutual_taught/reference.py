"""Reference log-probs on tables: every kept pair under pi_{t-1}, made once, before training."""

from pathlib import Path

import numpy as np
import pyarrow as pa

from mutual_taught import chat, models, preflight, tables
from mutual_taught.blocks import RankPairs
from mutual_taught.estep import sides
from mutual_taught.files import read_manifest
from mutual_taught.packing import Group


def add_logps(
    ranked: pa.Table, responses: pa.Table, rewards: pa.Table, policy: Path, prompts: pa.Table,
    prompts_path: Path, settings: RankPairs,
) -> tuple[pa.Table, dict[str, object]]:  # fmt: skip
    """Add the log-probs of every kept pair's sides under pi_{t-1}.

    Returns:
        Rows of `ranked_pairs`, and what they were made from.
    """
    reference = models.load_policy(policy, "float32")
    preflight.require(preflight.policy(reference), policy)
    kept = ranked.filter(ranked["kept"])["prompt_id"].to_pylist()
    asked = tables.align(prompts, kept, prompts_path)["messages"].to_pylist()
    chosen, rejected = sides(ranked, responses, "token_ids", len(responses) // len(ranked))
    groups = [
        Group(chat.prompt_tokens(reference.tokenizer, messages, prompt), [better, worse])
        for prompt, messages, better, worse in zip(kept, asked, chosen, rejected, strict=True)
    ]
    logps = models.reference_logps(
        reference, groups, settings.reference_dtype, settings.token_budget
    )
    rows = np.flatnonzero(ranked["kept"].to_numpy())
    for side, name in enumerate(("reference_chosen_logps", "reference_rejected_logps")):
        column = np.full(len(ranked), np.nan)
        column[rows] = [pair[side] for pair in logps]
        ranked = ranked.append_column(name, pa.array(column, mask=np.isnan(column)))
    made_from: dict[str, object] = {
        "policy": read_manifest(policy).digest,
        "reference_dtype": settings.reference_dtype,
        "chosen": settings.chosen,
        **tables.digests(responses=responses, rewards=rewards),
    }
    return ranked, made_from
