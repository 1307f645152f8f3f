"""Model selection on tables and folders; no model is loaded."""

from pathlib import Path

import numpy as np
import pyarrow as pa

from mutual_taught import decision, files
from mutual_taught.blocks import SelectPolicy
from mutual_taught.metrics import bootstrap
from mutual_taught.selection import Floats, Selected, Ties, select_checkpoint, wins, worth


def by_step(duels: pa.Table, ties: Ties) -> dict[int, Floats]:
    """Group what the duels count by checkpoint."""
    steps, results = duels["step"].to_numpy(), wins(duels["outcome"].to_numpy(), ties)
    return {int(step): results[steps == step] for step in np.unique(steps)}


def metrics(
    best: Selected, results: dict[int, Floats], ties: Ties, seed: int
) -> dict[str, float]:  # fmt: skip
    """Describe the selection: the best checkpoint's win rate with its interval."""
    interval = bootstrap(results[best.step], seed)
    return {
        "active": float(best.active), "step": float(best.step), "win_rate": best.win_rate,
        "win_rate_ci_lo": interval.ci_lo, "win_rate_ci_hi": interval.ci_hi,
        "n": float(interval.n), "candidates": float(len(results)),
        "tie_counts_as": worth(ties),
    }  # fmt: skip


def choose(
    duels: pa.Table, checkpoints: Path, policy: Path, previous: decision.Decision, out: Path,
    iteration: str, settings: SelectPolicy, seed: int,
) -> None:  # fmt: skip
    """Link the selected policy to `out/policy`, or the previous one, and write the decision."""
    numbers: dict[str, float] = {"active": 0.0}
    decided = decision.Decision(False, previous.policy_from)
    source = policy
    if previous.active:
        results = by_step(duels, settings.ties)
        best = select_checkpoint(results, settings.win_rate_threshold, settings.rule == "last")
        numbers = metrics(best, results, settings.ties, seed)
        if best.active:
            decided = decision.Decision(True, iteration)
            source = checkpoints / files.STEP.format(best.step)
    files.link_tree(source, out / "policy")
    decision.write(out, decided)
    files.write_metrics(out / "metrics" / "select_policy.json", numbers)
