"""Length control: by how much responses differ, and what is said without a solver."""

import sys

import numpy as np
import pytest

from mutual_taught.errors import InputError
from mutual_taught.evaluation.benchmarks.length_controlled import apart, require_solver


def test_apart_is_the_baselines_surplus_over_its_deviation() -> None:
    # 5 - 3, 1 - 3, 3 - 3 = 2, -2, 0: the deviation with ddof 1 is 2
    found = apart(np.array([3.0, 3.0, 3.0]), np.array([5.0, 1.0, 3.0]))
    assert found.tolist() == [1.0, -1.0, 0.0]


def test_lengths_that_always_differ_by_the_same_tell_nothing() -> None:
    assert apart(np.array([3.0, 4.0]), np.array([5.0, 6.0])).tolist() == [0.0, 0.0]
    assert apart(np.array([3.0]), np.array([5.0])).tolist() == [0.0]


def test_without_scikit_learn_the_line_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(InputError, match="expected the extra alpaca-eval; pip install"):
        require_solver()
