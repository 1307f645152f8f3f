"""Stored results are of what the report takes them for."""

import pytest

from study import outcomes, results
from study import plan as planning
from study.outcomes import Numbers

PLAN = planning.load()
STORED = {result.unit: result for result in results.read_all(results.FOLDER)}
LATER = [unit for unit in STORED if unit.arm in PLAN.arms and PLAN.arms[unit.arm].later]


@pytest.mark.parametrize("unit", LATER, ids=[unit.name for unit in LATER])
def test_arms_that_differ_later_have_the_policies_and_pairs_of_mutual(unit: planning.Unit) -> None:
    own, mutual = Numbers(STORED[unit]), Numbers(STORED[unit._replace(arm="mutual")])
    for t in range(own.last + 1):
        for measure in ("gold", "length", "own_samples.r0", "gold_pairs.r0"):
            assert own.prompts(t, measure) == mutual.prompts(t, measure), (t, measure)
    assert outcomes.gain(own, "own_samples") != outcomes.gain(mutual, "own_samples")
