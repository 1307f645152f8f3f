"""What goes wrong in a unit is its result, in one line."""

from pathlib import Path

import click
import pytest

from mutual_taught.errors import ShortageError
from stages._click import Stage
from study import plan as planning
from study import results, stages, unit
from study.cache import Cache
from study.plan import Unit

ARMS = """
testbeds: {laptop: {preset: tiny}}
arms:
  wrong: {is: a value that no stage takes, set: {dpo: {beta: -1}}}
  many: {is: more pairs than there are, preferences: {pairs: 100000}}
  plain: {is: the testbed}
order:
  - {name: all, arms: [wrong, many, plain], seeds: [1], formats: [float32]}
"""


def attempt(arm: str, here: Path) -> unit.Outcome:
    (here / "arms.yaml").write_text(ARMS)
    plan = planning.load(here / "arms.yaml")
    return unit.attempt(plan, Unit(arm, 1, "float32"), here / "work", Cache(here / "cache"))


def test_refused_values_are_a_result(here: Path) -> None:
    found = attempt("wrong", here)
    assert (found.status, found.rows) == (results.REFUSED, [])
    assert found.line == "params of wrong-s1-float32: dpo.beta is -1; expected greater than 0"


@pytest.mark.parametrize("in_stage", [True, False])
def test_a_machine_that_is_full_is_a_failure_and_no_result_of_the_arm(
    here: Path, monkeypatch: pytest.MonkeyPatch, in_stage: bool
) -> None:
    @click.command(cls=Stage)
    def stage() -> None:
        raise MemoryError

    def compute(_: Cache) -> None:
        if in_stage:
            stage.main([], standalone_mode=False)
        raise ShortageError("full")

    monkeypatch.setattr(unit, "_compute", compute)
    found = attempt("plain", here)
    assert found.status == results.FAILED
    assert ("no memory is left" if in_stage else "full") in found.line


def test_refused_preferences_are_a_result(here: Path) -> None:
    found = attempt("many", here)
    assert found.status == results.REFUSED
    assert "to draw 100000 from; expected as many at least" in found.line


def test_a_fault_of_ours_is_a_result_too(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stages, "LEFT_OUT", None)  # a fault: the first stage cannot be looked up
    found = attempt("plain", here)
    assert found.status == results.FAILED
    assert found.line.startswith("TypeError: ")


def test_what_a_unit_reads_is_laid_out_anew(here: Path) -> None:
    (here / "work" / "data").mkdir(parents=True)
    (here / "work" / "data" / "stray").write_text("left by another")
    (here / "arms.yaml").write_text(ARMS)
    plan = planning.load(here / "arms.yaml")
    folder = unit.prepare(plan, Unit("plain", 7, "float32"), here / "work")
    assert not (folder / "data" / "stray").exists()
    assert (folder / "data" / "templates.yaml").exists()
    assert "seed: 7" in (folder / "params.yaml").read_text()
