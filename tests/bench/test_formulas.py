"""Functions of others are run without what their files import."""

from pathlib import Path

from bench import formulas


def test_a_function_is_taken_out_of_a_file_whose_imports_are_not_here(tmp_path: Path) -> None:
    path = tmp_path / "utils.py"
    path.write_text(
        "import a_package_that_is_nowhere\n"
        "LIMIT = 3\n"
        "def under(value: a_package_that_is_nowhere.Number) -> bool:\n"
        "    return value < LIMIT\n"
    )
    under, limit = formulas.functions(path, "under", "LIMIT")
    assert limit == 3
    assert [under(value) for value in (2, 3)] == [True, False]


def test_a_formula_that_differs_is_seen(tmp_path: Path) -> None:
    """A score of Ties that is 2 whatever the rewards are."""
    (tmp_path / "utils.py").write_text(
        "def _compute_prompt_stats(samples): return samples\n"
        "def process_single_model(dataset): return None, 2.0\n"
    )
    # scores are at most 1.01, so a constant 2 is at least .99 away
    assert formulas.of_ties(tmp_path / "utils.py") >= 0.99
