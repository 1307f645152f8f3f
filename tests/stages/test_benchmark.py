"""The stages of benchmarks: which model, which values, what is written."""

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from mutual_taught.artifacts import files, tables
from mutual_taught.artifacts.manifests import read_manifest
from mutual_taught.cli import main
from mutual_taught.config import params
from mutual_taught.evaluation.benchmarks import REGISTRY
from stages import benchmark, benchmark_base
from tests import project
from tests.measuring import checkpoints


@pytest.fixture
def run(here: Path, policy_folder: Path, reward_folder: Path) -> Path:
    """Both models of iterations 0 and 1, params.yaml, and a file of pairs."""
    shutil.copy(project.ROOT / "presets" / "tiny.yaml", here / "params.yaml")
    for t in ("0", "1"):
        files.link_tree(policy_folder, here / "run" / t / "policy")
        files.link_tree(reward_folder, here / "run" / t / "reward_model")
    (here / "benchmarks" / "pairs").mkdir(parents=True)
    checkpoints.pairs(here / "benchmarks" / "pairs")
    return here / "run"


def words(t: str) -> list[str]:
    models = ["--policy", f"run/{t}/policy", "--reward-model", f"run/{t}/reward_model"]
    return ["--name", "pairs", *models, "--data", "benchmarks/pairs", "--out", f"run/{t}"]


@pytest.mark.slow
def test_the_reward_model_of_an_iteration_is_measured_and_the_parts_stay_for_dvc(
    run: Path, reward_folder: Path
) -> None:
    for stage, t in ((benchmark_base, "0"), (benchmark, "1")):
        done = CliRunner().invoke(stage.main, words(t))
        assert done.exit_code == 0, done.output
        out = run / t / "benchmarks" / "pairs"
        records = tables.read(tables.RECORDS.path(out), tables.RECORDS)
        assert len(records) == 3
        assert tables.provenance(records)["model"] == read_manifest(reward_folder).digest
        assert json.loads((out / "metrics.json").read_text())["n"] == 3.0
        assert (run / t / "perf").is_dir()
        assert list(run.parent.glob(f".work/benchmark@{t}-pairs/*/"))
    one, other = (run / t / "benchmarks" / "pairs" / "records.parquet" for t in "01")
    assert one.read_bytes() == other.read_bytes()  # the same model


def test_a_name_that_is_no_benchmark_is_refused(run: Path) -> None:
    done = CliRunner().invoke(benchmark.main, ["--name", "pair", *words("1")[2:]])
    assert done.exit_code == 1
    assert "benchmark 'pair' is unknown" in done.output


def test_check_refuses_a_benchmark_that_is_unknown_or_has_no_files(run: Path) -> None:
    project.set_param(Path("params.yaml"), "benchmarks", ["pairs"])
    assert CliRunner().invoke(main, ["check"]).exit_code == 0
    project.set_param(Path("params.yaml"), "benchmarks", ["pairs", "best-of-n"])
    found = CliRunner().invoke(main, ["check"])
    assert found.exit_code == 1
    assert "benchmarks names 'best-of-n' (any file of answers with labels), and " in found.output
    assert "benchmarks/best-of-n is not here; expected a folder with its files" in found.output
    project.set_param(Path("params.yaml"), "benchmarks", ["pairz"])
    found = CliRunner().invoke(main, ["check"])
    assert "benchmark 'pairz' is unknown" in found.output


def test_every_benchmark_can_be_named(run: Path) -> None:
    project.set_param(Path("params.yaml"), "benchmarks", list(REGISTRY))
    assert params.validate(params.read(Path("params.yaml"))).benchmarks == list(REGISTRY)


@pytest.mark.parametrize("names", ["pairs", [1], ["Pairs"], ["a/b"], ["pairs", "pairs"], None])
def test_benchmarks_are_a_list_of_names_each_once(run: Path, names: object) -> None:
    project.set_param(Path("params.yaml"), "benchmarks", names)
    found = CliRunner().invoke(main, ["check"])
    assert found.exit_code == 1
    assert found.output.startswith("Error: params.yaml: benchmarks")
    assert found.output.count("\n") == 1
