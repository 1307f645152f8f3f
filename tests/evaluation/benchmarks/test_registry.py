"""The registry of benchmarks: every name has a module with the functions of its kind."""

import inspect
import subprocess
import sys

import pytest

from mutual_taught.errors import InputError
from mutual_taught.evaluation import benchmarks
from mutual_taught.evaluation.benchmarks import base

KINDS = {"reward_model": base.RewardBenchmark, "policy": base.PolicyBenchmark}


@pytest.mark.parametrize("name", benchmarks.REGISTRY)
def test_a_benchmark_has_all_functions_of_its_kind(name: str) -> None:
    module, kind = benchmarks.module(name), KINDS[benchmarks.entry(name).kind]
    for function, wanted in inspect.getmembers(kind, inspect.isfunction):
        if function.startswith("_"):
            continue
        given = inspect.signature(getattr(module, function)).parameters
        assert list(given) == list(inspect.signature(wanted).parameters)[1:], function
    assert isinstance(module.EXPECTED, str)
    assert module.HUB is None or module.HUB.files


def test_an_unknown_benchmark_is_refused_with_the_list_and_the_nearest() -> None:
    with pytest.raises(InputError) as error:
        benchmarks.entry("pair")
    assert str(error.value).startswith("benchmark 'pair' is unknown; expected one of pairs, best-")
    assert str(error.value).endswith("; did you mean 'pairs'")


def test_the_list_of_names_imports_no_library_that_computes() -> None:
    code = (
        "import sys, mutual_taught.evaluation.benchmarks\n"
        "assert not {'torch', 'transformers', 'datasets', 'pyarrow', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
