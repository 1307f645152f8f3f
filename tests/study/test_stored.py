"""Stored results are of what the report takes them for."""

import pytest

from study import outcomes, results
from study import plan as planning
from study.outcomes import Numbers

PLAN = planning.load()
LATER = [
    unit
    for unit in planning.units(PLAN)
    if PLAN.arms[unit.arm].later and results.path(results.FOLDER, unit).exists()
]


@pytest.mark.parametrize("unit", LATER, ids=[unit.name for unit in LATER])
def test_arms_that_differ_later_have_the_policies_and_pairs_of_mutual(unit: planning.Unit) -> None:
    own, mutual = (
        Numbers(results.read(results.path(results.FOLDER, one)))
        for one in (unit, unit._replace(arm="mutual"))
    )
    assert own.same_policies(mutual)
    for t in range(own.last + 1):
        for measure in ("own_samples.r0", "gold_pairs.r0"):
            assert own.prompts(t, measure) == mutual.prompts(t, measure), (t, measure)
    assert outcomes.gain(own, "own_samples") != outcomes.gain(mutual, "own_samples")
