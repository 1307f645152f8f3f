"""The registry of benchmarks: every name has a module with the functions of its kind."""

import inspect
import subprocess
import sys

import pytest

from mutual_taught.errors import InputError
from mutual_taught.evaluation import benchmarks
from mutual_taught.evaluation.benchmarks import base
from tests.evaluation.benchmarks.published import NAMES
from tests.project import ROOT


def protocol(name: str) -> type:
    if benchmarks.entry(name).kind == "reward_model":
        return base.RewardBenchmark
    judged = benchmarks.of_policies(name).JUDGED
    return base.JudgedBenchmark if judged else base.CheckedBenchmark


@pytest.mark.parametrize("name", benchmarks.REGISTRY)
def test_a_benchmark_has_all_functions_of_its_kind(name: str) -> None:
    module = benchmarks.module(name)
    for function, wanted in inspect.getmembers(protocol(name), inspect.isfunction):
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


@pytest.mark.parametrize("name", NAMES)
def test_a_published_benchmark_of_reward_models_stands_in_the_page_with_its_commit(
    name: str,
) -> None:
    page = (ROOT / "docs/evaluation.md").read_text().split("### Beside every accuracy")[0]
    [row] = [line for line in page.splitlines() if line.startswith(f"| `{name}` |")]
    hub = benchmarks.module(name).HUB
    assert hub is None or f"`{hub.dataset}`" in row
    expected = "–" if hub is None else f"`{hub.revision[:8]}…`" if hub.revision else "`--revision`"
    assert row.split(" | ")[3] == expected


def test_there_are_files_by_hand_for_every_published_benchmark_of_reward_models() -> None:
    own = {"pairs", "best-of-n"}
    kinds = {name: entry.kind for name, entry in benchmarks.REGISTRY.items() if name not in own}
    assert {name for name, kind in kinds.items() if kind == "reward_model"} == set(NAMES)
