"""In which number formats a run was computed: what `auto` came to where each part was made.

To DVC `auto` is one value on all machines, so what was pulled from another one is up to date here,
whatever format this one would compute in. Every artifact says in which it was made.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mutual_taught.artifacts import tables
from mutual_taught.artifacts.manifests import MANIFEST, read_manifest
from mutual_taught.errors import MutualTaughtError
from mutual_taught.reading import run_state

DRAWN = (tables.PREVIOUS_ANSWERS, tables.RESPONSES, tables.DUELS, tables.ANSWERS)
SAMPLING, REFERENCE, TRAINING = "sampling", "reference log-probs", "training"
Formats = Mapping[str, Mapping[str, list[Path]]]


def find(run: Path) -> Formats:
    """Read what each artifact says: of sampling, the reference and training, the paths by format.

    What is not there, or cannot be read, is left out; `verify` says what is wrong with it.
    """
    found: dict[str, dict[str, list[Path]]] = {
        kind: defaultdict(list) for kind in (SAMPLING, REFERENCE, TRAINING)
    }
    for key in run_state.present(run):
        for kind, path, name in _said(run / key):
            if name is not None:
                found[kind][str(name)].append(path)
    return found


def _said(here: Path) -> Iterator[tuple[str, Path, object]]:
    """Read the format of every artifact of an iteration; None where it has none."""
    for path in [table.path(here) for table in DRAWN] + [tables.GENERATIONS.path(here / "eval")]:
        yield SAMPLING, path, _provenance(path).get("dtype")
    path = tables.RANKED_PAIRS.path(here)
    yield REFERENCE, path, _provenance(path).get("reference_dtype")
    for folder in [*sorted(here.glob("checkpoints/*/")), here / "reward_model"]:
        yield TRAINING, folder, _trained(folder).get("precision")


def _provenance(path: Path) -> dict[str, Any]:
    try:
        return tables.provenance(pq.read_schema(path).empty_table())
    except (MutualTaughtError, pa.ArrowException, OSError):
        return {}


def _trained(folder: Path) -> Mapping[str, Any]:
    try:
        made = read_manifest(folder).made_by if (folder / MANIFEST).exists() else {}
    except MutualTaughtError:
        return {}
    training = made.get("training")
    return training if isinstance(training, Mapping) else {}


def mixed(formats: Formats) -> Iterator[str]:
    """Say in a line each what one run was computed in two formats."""
    for kind, by_format in formats.items():
        if len(by_format) > 1:
            yield (
                f"{kind} was computed in {_listed(by_format)}: auto came to both, on different "
                "machines; dvc repro -f with the stages of one of them makes them alike"
            )
    reference, training = (sorted(formats[kind]) for kind in (REFERENCE, TRAINING))
    if len(reference) == len(training) == 1 and reference != training:
        yield (
            f"{REFERENCE} were computed in {reference[0]}, {TRAINING} in {training[0]}: DPO does "
            "not start from a margin of 0; dvc repro -f with the stages of one of them makes them "
            "alike"
        )


def _listed(by_format: Mapping[str, list[Path]]) -> str:
    """Name the formats, and of each the first artifact and how many more there are."""
    return " and in ".join(
        f"{name} ({paths[0]}{f' and {len(paths) - 1} more' if len(paths) > 1 else ''})"
        for name, paths in sorted(by_format.items())
    )
