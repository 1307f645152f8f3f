"""What a unit was made of: a result of other values is not taken for the unit's."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mutual_taught.artifacts import files
from mutual_taught.errors import InputError
from mutual_taught.reading.compare import leaves
from study import results
from study.plan import ROOT, StudyPlan, Unit, values
from study.results import Result

SEED_PREFERENCES = "data/seed_preferences.parquet"
PARAMS, LATER, PREFERENCES = "params", "later", "seed_preferences"


def made_of(plan: StudyPlan, unit: Unit) -> dict[str, Any]:
    """Give what makes a unit: its params, what changes later, and which file r_0 learns from."""
    change = plan.arms[unit.arm].preferences
    path = ROOT / ((change and change.path) or SEED_PREFERENCES)
    digest = files.sha256(path) if path.is_file() else ""
    settings = change.model_dump() if change else {}
    later = {LATER: plan.arms[unit.arm].later} if plan.arms[unit.arm].later else {}
    return {PARAMS: values(plan, unit), **later, PREFERENCES: {"sha256": digest, **settings}}


def check(plan: StudyPlan, found: Iterable[Result], folder: Path) -> None:
    """Refuse results whose units the plan now makes of something else.

    A key that only one of both sides has is none: params.yaml gains keys as the project grows. A
    result that says nothing of its values is taken as it is.

    Raises:
        InputError: a result was made of other values.
    """
    for result in found:
        before = {
            name: result.about[name]
            for name in (PARAMS, LATER, PREFERENCES)
            if name in result.about
        }
        if before and (said := _difference(before, made_of(plan, result.unit))):
            raise InputError(
                f"{results.path(folder, result.unit)}: was made with {said}; expected a result of "
                "what the study has now; move it away to run the unit again, or undo the change"
            )


def _difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Name the first value that differs; "" if none does."""
    old, new = dict(leaves(before)), dict(leaves(now))
    steps = [sorted(one.get(PARAMS, {}).get("iterations", {})) for one in (before, now)]
    if PARAMS in before and steps[0] != steps[1]:
        return f"iterations {', '.join(steps[0])}, now {', '.join(steps[1])}"
    return next(
        (
            f"{name.partition('.')[2]} {value!r}, now {new[name]!r}"
            for name, value in old.items()
            if name in new and new[name] != value
        ),
        "",
    )
