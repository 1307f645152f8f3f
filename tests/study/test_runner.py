"""Which unit is next, and what is left to do."""

from pathlib import Path

import pytest

from mutual_taught.errors import InputError
from study import results, runner
from study.plan import Unit

ONE, SAME, OTHER = Unit("a", 1, "float32"), Unit("b", 1, "float32"), Unit("a", 2, "float32")


def test_next_is_the_first_unit_that_shares_no_stage_with_one_at_work() -> None:
    assert runner.take([ONE, SAME, OTHER], []) == ONE
    assert runner.take([SAME, OTHER], [ONE]) == OTHER
    assert runner.take([SAME], [ONE]) == SAME


def test_units_with_a_result_are_not_run_again_unless_they_ended_badly(tmp_path: Path) -> None:
    for unit, status in ((ONE, results.DONE), (SAME, results.REFUSED)):
        about = {**unit._asdict(), "status": status}
        results.write(results.path(tmp_path, unit), about, [])
    assert runner.pending([ONE, SAME, OTHER], tmp_path, False) == [OTHER]
    assert runner.pending([ONE, SAME, OTHER], tmp_path, True) == [SAME, OTHER]


def test_a_study_stops_where_three_units_in_a_row_fail_by_one_fault() -> None:
    for others in ([], ["a"], ["a", "a"], ["a", "a", "b"], ["a", "b", "a", "a"]):
        runner.stop_if_alike(others)
    with pytest.raises(InputError, match=r"3 units in a row failed: no space; .* run with --again"):
        runner.stop_if_alike(["other", "no space", "no space", "no space"])


def test_a_unit_of_another_run_is_left_to_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = runner.Settings(
        1.0, 1, (), tmp_path / "logs", tmp_path, False, ("--arms", "none.yaml")
    )
    begun: list[Unit] = []
    held = runner._lock(ONE, settings)
    assert held is not None
    waiting = runner.pending([ONE, SAME], tmp_path, False)
    results.write(results.path(tmp_path, SAME), {**SAME._asdict(), "status": results.DONE}, [])
    assert runner.run(waiting, settings, lambda unit, why: begun.append(unit), begun.append) == []
    assert not begun
    said = ["a-s1-float32: another run is at it", "b-s1-float32: another run finished it"]
    assert capsys.readouterr().out.splitlines() == said
    held.close()
    free = runner._lock(ONE, settings)
    assert free is not None
    free.close()
