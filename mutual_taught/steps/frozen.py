"""Log-probs of a frozen policy in shards, resumable: DPO's reference, or pi_0 in an evaluation."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mutual_taught.artifacts import files
from mutual_taught.checks import preflight
from mutual_taught.checks.policies import compare_policy
from mutual_taught.config.blocks import Tokens, Workers
from mutual_taught.config.fields import Dtype
from mutual_taught.models.load import load_policy
from mutual_taught.models.packed.forward import reference_logps
from mutual_taught.models.packed.rows import Group
from mutual_taught.terminal.progress import Counted, bar, ignore

SHARD = 256  # prompts that are measured together, and kept when an interrupted run goes on
Floats = NDArray[np.float64]
Logps = list[list[float]]


class Frozen(NamedTuple):
    """A policy that is not trained, and how it is run; a worker of a pool is given it as its job.

    dtype: of the pass, float32 or bfloat16. token_budget: tokens a packed row. tokens: limits, up
    to which the model was compared with a plain pass. gpus: that a worker takes.
    """

    folder: Path
    dtype: Dtype
    token_budget: int
    tokens: Tokens
    gpus: int = 1

    def begin(self) -> Callable[[int, Sequence[Group]], Logps]:
        """Load the model and give what measures a shard."""
        measure = self.load()
        return lambda _, groups: measure(groups, ignore)

    def load(self) -> Callable[[Sequence[Group], Counted], Logps]:
        """Load the model and give what measures groups, telling of each how far it came."""
        rows = compare_policy(self.folder, self.tokens).rows
        policy = load_policy(self.folder, "float32", rows)
        preflight.require(preflight.policy(policy), self.folder)
        return lambda groups, seen: reference_logps(
            policy, groups, self.dtype, self.token_budget, seen
        )


def measured(
    groups: Sequence[Group], policy: Frozen, workers: Workers, place: Path, title: str
) -> Floats:
    """Run a policy over prompts with their responses, going on from the shards that are finished.

    Groups are cut in their order, that of their prompts' ids, and a packed row never reaches over a
    cut: so an interrupted run, and one on a cluster, end with the same bytes.

    Args:
        groups: the prompts' tokens, with as many responses each.
        policy: the model.
        workers: where it is run: in this process, or on a cluster.
        place: folder of finished shards.
        title: of the bar.

    Returns:
        Log-probs of whole responses, in nats, shape (prompts, responses).
    """
    shards = [groups[at : at + SHARD] for at in range(0, len(groups), SHARD)]
    paths = [place / f"part-{number:05d}.json" for number in range(len(shards))]
    todo = {n: shards[n] for n, path in enumerate(paths) if not path.exists()}
    ready = len(groups) - sum(map(len, todo.values()))
    with bar(title, len(groups), "prompt", ready) as progress:
        run = _run_here if workers == "local" else _run_in_pool
        for number, logps in run(policy, todo, progress.update):
            files.write_json(paths[number], {"logps": logps})
    return np.array([group for path in paths for group in files.read_json(path)["logps"]])


def _run_here(
    policy: Frozen, shards: Mapping[int, Sequence[Group]], seen: Counted
) -> Iterator[tuple[int, Logps]]:
    """Measure shard after shard in this process; the model is loaded only if there is one."""
    if shards:
        measure = policy.load()
        for number, groups in shards.items():
            yield number, measure(groups, seen)


def _run_in_pool(
    policy: Frozen, shards: Mapping[int, Sequence[Group]], seen: Counted
) -> Iterator[tuple[int, Logps]]:
    """Measure shards on a cluster, each given when it is finished."""
    from mutual_taught import cluster  # ray takes a second to import

    leave = cluster.connect()
    try:
        absolute = policy._replace(folder=policy.folder.resolve())
        for number, logps in cluster.run(absolute, shards):
            seen(len(logps))
            yield number, logps
    finally:
        leave()
