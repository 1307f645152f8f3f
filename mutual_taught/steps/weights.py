"""How much a pair counts in r_t's training: by how likely its label is right, on tables."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mutual_taught.artifacts import tables
from mutual_taught.evaluation import gold_tables
from mutual_taught.method.arrays import Floats
from mutual_taught.method.calibration import Calibration, accuracies, fit


def read(duels: Path, selection: Path) -> tuple[Calibration, dict[str, object]]:
    """Fit on tables `duels` and `prompts` of D_MS (see `calibrate`); say what it was fitted on.

    Raises:
        InputError: a prompt has no instructions.
    """
    fought, prompts = tables.read(duels, tables.DUELS), tables.read(selection, tables.PROMPTS)
    gold_tables.require_verifiable(prompts, "selection", "build_pairs.weights is calibrated")
    fitted = calibrate(fought, prompts, selection)
    instructions = tables.rows_digest(prompts.select(gold_tables.INSTRUCTIONS))
    return fitted, {
        **tables.digests(duels=fought),
        "selection_instructions": instructions,
        "calibration": fitted._asdict(),
    }


def calibrate(duels: pa.Table, prompts: pa.Table, path: Path) -> Calibration:
    """Fit how likely pi_t's response is better than pi_{t-1}'s at a margin, on the duels of D_MS.

    All candidates' duels count: those of the selected one alone are few, and it was selected for
    having won these very duels. A duel without a reward, or whose responses have the same gold,
    says nothing.

    Args:
        duels: table `duels`.
        prompts: table `prompts` of D_MS, with instructions.
        path: where these were read from, for messages.
    """
    margins = duels["reward"].to_numpy() - duels["previous_reward"].to_numpy()
    golds = gold_tables.of_both(duels, prompts, path)
    told = ~np.isnan(margins) & (golds.own != golds.previous)
    return fit(margins[told], (golds.own > golds.previous)[told])


def weighed(
    fresh: Mapping[str, pa.Table], margins: Floats, calibration: Calibration
) -> dict[str, pa.Table]:
    """Add the column `weight` to pairs by kind: the accuracy of pseudo labels, 1 of all others.

    Args:
        fresh: pairs of this iteration by kind.
        margins: of the pseudo pairs, in their order.
        calibration: how margins tell accuracy.
    """
    likely = {"pseudo": accuracies(margins, calibration)}
    return {kind: weigh(pairs, likely.get(kind)) for kind, pairs in fresh.items()}


def weigh(pairs: pa.Table, weights: Floats | None = None) -> pa.Table:
    """Give pairs their weights, 1 each by default; those that have some keep them."""
    if "weight" in pairs.column_names:
        return pairs
    column = np.ones(len(pairs)) if weights is None else weights
    return pairs.append_column("weight", pa.array(column))


def metrics(pairs: pa.Table, calibration: Calibration) -> dict[str, float | None]:
    """Describe the calibration, and what the mix's pseudo pairs weigh on average."""
    weights = pairs.filter(pc.equal(pairs["kind"], "pseudo"))["weight"]
    return {
        "weighed_by_gold": 1.0,
        "calibration_offset": calibration.offset,
        "calibration_slope": calibration.slope,
        "calibration_pairs": float(calibration.pairs),
        "weight_mean": pc.mean(weights).as_py(),
    }
