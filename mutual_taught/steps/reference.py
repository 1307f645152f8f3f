"""Reference log-probs on tables: every kept pair under DPO's reference, once, before training."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mutual_taught.artifacts import files, joins, tables
from mutual_taught.artifacts.joins import sides
from mutual_taught.artifacts.manifests import read_manifest
from mutual_taught.checks import preflight
from mutual_taught.checks.policies import compare_policy
from mutual_taught.config.blocks import RankPairs, Tokens, Workers
from mutual_taught.models import chat
from mutual_taught.models.load import load_policy, load_tokenizer
from mutual_taught.models.packed.forward import reference_logps
from mutual_taught.models.packed.rows import Group
from mutual_taught.models.precision import settle
from mutual_taught.pipeline import work
from mutual_taught.steps.rank_pairs import REFERENCE, Floats, compare_margins, sampled_logps
from mutual_taught.terminal.progress import Counted, bar, ignore

CHECKED = 32
SHARD = 256  # pairs that are measured together, and kept when an interrupted run goes on
Logps = list[list[float]]


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
    """DPO's reference and how it is run; a worker of a pool is given it as its job.

    folder: of pi_{t-1}, or pi_0. settings: block `rank_pairs`, no `auto` left. tokens: limits, up
    to which the model was compared with a plain pass. gpus: that a worker takes.
    """

    folder: Path
    settings: RankPairs
    tokens: Tokens
    gpus: int = 1

    def begin(self) -> Callable[[int, Sequence[Group]], Logps]:
        """Load the model and give what measures a shard of pairs."""
        measure = self.load()
        return lambda _, groups: measure(groups, ignore)

    def load(self) -> Callable[[Sequence[Group], Counted], Logps]:
        """Load the model and give what measures pairs, telling of each how far it came."""
        rows = compare_policy(self.folder, self.tokens).rows
        policy = load_policy(self.folder, "float32", rows)
        preflight.require(preflight.policy(policy), self.folder)
        dtype, budget = self.settings.reference_dtype, self.settings.token_budget
        return lambda groups, seen: reference_logps(policy, groups, dtype, budget, seen)


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
            logps[few], np.array(reference.load()(groups, ignore)), reference.folder
        )
    else:
        inputs = _inputs(pairs, kept, reference)
        with work.folder(name, inputs) as place:
            logps = _measured(pair_groups(pairs, kept, reference), reference, workers, place)
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
        "shard": SHARD,
    }


def _measured(groups: list[Group], reference: Reference, workers: Workers, place: Path) -> Floats:
    """Run the reference over pairs, (pairs, 2), going on from the shards that are finished.

    Pairs are cut in the order of their prompts' ids, and a packed row never reaches over a cut: so
    an interrupted run, and one on a cluster, end with the same bytes.
    """
    shards = [groups[at : at + SHARD] for at in range(0, len(groups), SHARD)]
    paths = [place / f"part-{number:05d}.json" for number in range(len(shards))]
    todo = {n: shards[n] for n, path in enumerate(paths) if not path.exists()}
    ready = len(groups) - sum(map(len, todo.values()))
    with bar("reference log-probs", len(groups), "pair", ready) as progress:
        run = _run_here if workers == "local" else _run_in_pool
        for number, logps in run(reference, todo, progress.update):
            files.write_json(paths[number], {"logps": logps})
    return np.array([pair for path in paths for pair in files.read_json(path)["logps"]])


def _run_here(
    reference: Reference, shards: Mapping[int, Sequence[Group]], seen: Counted
) -> Iterator[tuple[int, Logps]]:
    """Measure shard after shard in this process; the model is loaded only if there is one."""
    if shards:
        measure = reference.load()
        for number, groups in shards.items():
            yield number, measure(groups, seen)


def _run_in_pool(
    reference: Reference, shards: Mapping[int, Sequence[Group]], seen: Counted
) -> Iterator[tuple[int, Logps]]:
    """Measure shards on a cluster, each given when it is finished."""
    from mutual_taught import cluster  # ray takes a second to import

    leave = cluster.connect()
    try:
        absolute = reference._replace(folder=reference.folder.resolve())
        for number, logps in cluster.run(absolute, shards):
            seen(len(logps))
            yield number, logps
    finally:
        leave()
