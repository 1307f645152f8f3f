"""What an edit of a module runs again, on a graph of three stages."""

from bench.edits import Edit, edits
from mutual_taught.planning.graph import Node

# pair reads what draw writes; show reads what pair writes
GRAPH = [
    Node("draw", ("mutual_taught/models", "mutual_taught/keys.py"), ("run/answers",)),
    Node("pair@1", ("run/answers", "mutual_taught/pairs.py", "mutual_taught/keys.py"), ("run/1",)),
    Node("show@1", ("run/1/pairs.parquet",), ("run/report",)),
]
SECONDS = {"draw": 30.0, "pair@1": 4.0, "show@1": 1.0}


def of(module: str) -> Edit:
    return edits(GRAPH, SECONDS, [module])[0]


def test_edit_runs_the_stages_that_depend_on_the_module_and_may_run_what_reads_them() -> None:
    # only pair depends on it: 4 s; if its pairs change, show follows: 4 + 1
    assert of("mutual_taught/pairs.py") == ("mutual_taught/pairs.py", ("pair@1",), 4.0, 5.0)


def test_folder_among_the_deps_stands_for_its_modules_and_for_no_other_name() -> None:
    # draw, then pair and show: 30 + 4 + 1
    assert of("mutual_taught/models/packed/rows.py")[1:] == (("draw",), 30.0, 35.0)
    assert of("mutual_taught/models_of_others.py")[1:] == ((), 0.0, 0.0)


def test_dearest_edit_comes_first_and_a_stage_that_did_not_run_costs_nothing() -> None:
    modules = ["mutual_taught/pairs.py", "mutual_taught/keys.py"]
    # keys: draw and pair, 30 + 4
    assert [edit.seconds for edit in edits(GRAPH, SECONDS, modules)] == [34.0, 4.0]
    assert edits(GRAPH, {}, modules)[0].seconds == 0.0
