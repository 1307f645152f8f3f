"""A result of other values is refused, wherever it would be taken for the unit's."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from mutual_taught.errors import InputError
from study import made_of, report, results
from study import plan as planning
from study.__main__ import main
from study.plan import Unit

ARMS = """
testbeds: {laptop: {preset: tiny}}
arms:
  mutual: {is: both learn}
  few: {is: fewer pairs, preferences: {pairs: 40}}
  later: {is: no ranked pairs later, later: {build_pairs: {ranked: false}}}
order:
  - {name: core, arms: [mutual, few, later], seeds: [1], formats: [float32]}
"""
MUTUAL, FEW, LATER = (Unit(arm, 1, "float32") for arm in ("mutual", "few", "later"))


def stored(here: Path, unit: Unit, arms: str = ARMS) -> planning.StudyPlan:
    """Store a result of a unit as the arms are now."""
    plan = written(here, arms)
    about = {**unit._asdict(), "testbed": "laptop", "status": results.DONE}
    about |= made_of.made_of(plan, unit)
    results.write(results.path(here / "results", unit), about, [])
    return plan


def written(here: Path, arms: str) -> planning.StudyPlan:
    (here / "arms.yaml").write_text(arms)
    return planning.load(here / "arms.yaml")


@pytest.mark.parametrize(
    ("unit", "before", "after", "said"),
    [
        (MUTUAL, "tiny}", "tiny, set: {dpo: {beta: 0.7}}}", r"dpo\.beta 0\.1, now 0\.7;"),
        (MUTUAL, "tiny}", "tiny, set: {iterations: {'2': null}}}", "iterations 1, 2, now 1;"),
        (FEW, "pairs: 40", "pairs: 41", "pairs 40, now 41;"),
        (LATER, "ranked: false", "pseudo: false", r"build_pairs\.pseudo True, now False;"),
    ],
)
def test_other_values_are_refused(
    here: Path, unit: Unit, before: str, after: str, said: str
) -> None:
    plan = stored(here, unit)
    found = results.read_all(here / "results")
    made_of.check(plan, found, here / "results")
    changed = written(here, ARMS.replace(before, after))
    with pytest.raises(InputError, match=rf"{unit.name}\.parquet: was made with {said}"):
        made_of.check(changed, found, here / "results")
    arms = ["--arms", str(here / "arms.yaml"), "--results", str(here / "results")]
    result = CliRunner().invoke(main, ["run", "--hours", "0", *arms])
    assert result.exit_code == 1
    assert result.output.startswith(f"Error: {here}/results/{unit.name}.parquet: was made with ")


def test_a_key_that_came_later_is_no_difference(here: Path) -> None:
    plan = stored(here, MUTUAL)
    found = results.read(results.path(here / "results", MUTUAL))
    del found.about["params"]["dpo"]["beta"]
    made_of.check(plan, [found], here)


def test_a_result_that_does_not_say_its_values_is_taken(here: Path) -> None:
    plan = stored(here, MUTUAL)
    about = {**MUTUAL._asdict(), "testbed": "laptop", "status": results.DONE}
    made_of.check(plan, [results.Result(about, results.SCHEMA.empty_table())], here)


def test_results_of_no_arm_are_named(here: Path) -> None:
    stored(here, Unit("few", 1, "float32"))
    page = here / "study.md"
    page.write_text(f"{report.BEGIN}\n{report.END}\n")
    fewer = ARMS.replace("  few: {is: fewer pairs, preferences: {pairs: 40}}\n", "")
    plan = written(here, fewer.replace(", few,", ","))
    report.write(plan, here / "results", page)
    left = "Left out, because the study has no such arm: few&#45;s1&#45;float32."
    assert left in page.read_text()
