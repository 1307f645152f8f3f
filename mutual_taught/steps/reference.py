"""Reference log-probs on tables: every kept pair under DPO's reference, once, before training."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mutual_taught.artifacts import joins, tables
from mutual_taught.artifacts.joins import sides
from mutual_taught.artifacts.manifests import read_manifest
from mutual_taught.config.blocks import RankPairs, Tokens, Workers
from mutual_taught.models import chat
from mutual_taught.models.load import load_tokenizer
from mutual_taught.models.packed.rows import Group
from mutual_taught.models.precision import settle
from mutual_taught.pipeline import work
from mutual_taught.steps import frozen
from mutual_taught.steps.rank_pairs import REFERENCE, compare_margins, sampled_logps
from mutual_taught.terminal.progress import ignore

CHECKED = 32


class Pairs(NamedTuple):
    """The tables that log-probs are added to, and those they are made from.

    ranked: `ranked_pairs` without log-probs. responses, rewards: of the same prompts, M rows each.
    prompts: the policy splits. path: where they were read from, for messages.
    """

    ranked: pa.Table
    responses: pa.Table
    rewards: pa.Table
    prompts: pa.Table
    path: Path


class Reference(NamedTuple):
    """DPO's reference and how it is run.

    folder: of pi_{t-1}, or pi_0. settings: block `rank_pairs`, no `auto` left. tokens: limits, up
    to which the model was compared with a plain pass.
    """

    folder: Path
    settings: RankPairs
    tokens: Tokens

    @property
    def model(self) -> frozen.Frozen:
        """Give the model with how it is run."""
        dtype, budget = self.settings.reference_dtype, self.settings.token_budget
        assert dtype != "auto"
        return frozen.Frozen(self.folder, dtype, budget, self.tokens)


def add_logps(
    pairs: Pairs, reference: Reference, workers: Workers, name: str
) -> tuple[pa.Table, dict[str, object], dict[str, float]]:
    """Add the log-probs of every kept pair's sides under DPO's reference.

    Args:
        pairs: the tables.
        reference: the model, and how it is run.
        workers: where it is run: in this process, or on a cluster.
        name: of the work folder.

    Returns:
        Rows of `ranked_pairs`, what they were made from, and metrics.

    Raises:
        InputError: the sampler's log-probs are not those of the trainer's pass.
    """
    reference = reference._replace(settings=settle(reference.settings))
    settings, ranked = reference.settings, pairs.ranked
    kept = ranked.filter(ranked["kept"])
    found: dict[str, float] = {}
    if settings.reference_logps == "sampler":
        logps = sampled_logps(ranked, pairs.responses)
        few = np.unique(np.linspace(0, len(logps) - 1, CHECKED).astype(int))
        groups = pair_groups(pairs, kept.take(pa.array(few)), reference)
        found = compare_margins(
            logps[few], np.array(reference.model.load()(groups, ignore)), reference.folder
        )
    else:
        inputs = _inputs(pairs, kept, reference)
        with work.folder(name, inputs) as place:
            groups = pair_groups(pairs, kept, reference)
            logps = frozen.measured(groups, reference.model, workers, place, "reference log-probs")
    rows = np.flatnonzero(ranked["kept"].to_numpy())
    for side, column_name in enumerate(REFERENCE):
        column = np.full(len(ranked), np.nan)
        column[rows] = logps[:, side]
        ranked = ranked.append_column(column_name, pa.array(column, mask=np.isnan(column)))
    made_from: dict[str, object] = {
        "policy": read_manifest(reference.folder).digest,
        "reference": settings.reference,
        "reference_logps": settings.reference_logps,
        "reference_dtype": settings.reference_dtype,
        "chosen": settings.chosen,
        "ended_only": settings.ended_only,
        **tables.digests(responses=pairs.responses, rewards=pairs.rewards),
    }
    return ranked, made_from, found


def pair_groups(pairs: Pairs, kept: pa.Table, reference: Reference) -> list[Group]:
    """Lay out kept pairs as token ids: the prompt, then chosen and rejected as branches."""
    tokenizer = load_tokenizer(reference.folder)
    names = kept["prompt_id"].to_pylist()
    asked = joins.align(pairs.prompts, names, pairs.path)["messages"].to_pylist()
    of_these = pairs.responses.filter(pc.is_in(pairs.responses["prompt_id"], kept["prompt_id"]))
    width = len(of_these) // len(kept)
    chosen, rejected = (side.to_pylist() for side in sides(kept, of_these, "token_ids", width))
    return [
        Group(chat.prompt_tokens(tokenizer, messages, prompt), [better, worse])
        for prompt, messages, better, worse in zip(names, asked, chosen, rejected, strict=True)
    ]


def _inputs(pairs: Pairs, kept: pa.Table, reference: Reference) -> dict[str, object]:
    """Say what decides the log-probs of kept pairs: the fingerprint of their shards."""
    return {
        "policy": read_manifest(reference.folder).digest,
        "pairs": tables.rows_digest(kept.select(["prompt_id", "chosen_index", "rejected_index"])),
        "prompts": tables.rows_digest(pairs.prompts.select(["prompt_id", "messages"])),
        **tables.digests(responses=pairs.responses),
        "dtype": reference.settings.reference_dtype,
        "token_budget": reference.settings.token_budget,
        "shard": frozen.SHARD,
    }
