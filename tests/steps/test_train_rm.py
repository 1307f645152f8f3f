"""r_t beyond the paper: what is in its mix, how its pairs count, and what of it is exported."""

import math
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from safetensors.torch import load_file

from mutual_taught.artifacts import files, tables
from mutual_taught.artifacts.manifests import read_manifest
from mutual_taught.audit.verify import verify
from mutual_taught.cli import main
from tests import in_process, project

CHANGES: dict[str, object] = {
    "build_pairs.seed_preferences": 0.02,
    "build_pairs.weights": "calibrated",
    "train_rm.average": 0.25,
}


@pytest.fixture(scope="module")
def repo(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a run, made with CHANGES from build_pairs of t = 1 on."""
    repo = project.copy(tmp_path_factory.mktemp("beyond") / "repo", "tiny")
    shutil.copytree(finished, repo / "run", copy_function=files.link)
    for name, value in CHANGES.items():
        project.set_param(repo / "params.yaml", name, value)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(repo)
        shutil.rmtree("run/2")
        in_process.run_all(Path("params.yaml"), ("build_pairs", "1"))
    return repo


@pytest.fixture
def run(repo: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(repo)
    return Path("run")


@pytest.mark.slow
def test_run_with_all_of_it_has_no_fault(run: Path) -> None:
    assert [str(fault) for fault in verify(run)] == []


@pytest.mark.slow
def test_every_mix_has_its_own_draw_of_the_pairs_that_r_0_learnt(run: Path) -> None:
    known = set(pq.read_table(run / "0" / "seed_pairs.parquet")["prompt_id"].to_pylist())
    drawn, count = [], round(0.02 * len(known))
    assert count > 2
    for t in "12":
        rows = pq.read_table(run / t / "reward_pairs.parquet").to_pylist()
        drawn.append({row["prompt_id"] for row in rows if row["kind"] == "seed"})
        assert files.read_json(run / t / "metrics" / "build_pairs.json")["pairs_seed"] == count
        met = pq.read_table(run / t / "reward_training.parquet")["pair_id"].to_pylist()
        assert {row["pair_id"] for row in rows} == set(met)
    assert drawn[0] | drawn[1] <= known
    assert len(drawn[0]) == len(drawn[1]) == count
    assert drawn[0] != drawn[1]


@pytest.mark.slow
def test_pairs_have_weights_and_trace_and_status_say_so(run: Path) -> None:
    for t in "12":
        mix = tables.read(tables.REWARD_PAIRS.path(run / t), tables.REWARD_PAIRS)
        rows, said = mix.to_pylist(), tables.provenance(mix)["calibration"]
        assert {row["weight"] for row in rows if row["kind"] != "pseudo"} == {1.0}
        labelled = pq.read_table(run / t / "pseudo_pairs.parquet").to_pylist()
        margins = {row["prompt_id"]: row["reward_margin"] for row in labelled}
        for row in rows:
            if row["kind"] == "pseudo":
                seen = min(max(margins[row["prompt_id"]], said["low"]), said["high"])
                odds = math.exp(said["offset"] + said["slope"] * seen)
                assert row["weight"] == pytest.approx(odds / (1 + odds), abs=1e-6)
        pair = next(row for row in rows if row["kind"] == "pseudo")
        shown = CliRunner().invoke(main, ["why", pair["pair_id"]]).output
        assert f"weight {pair['weight']:.3f}" in shown
    assert "it weighed the pairs on D_M" in CliRunner().invoke(main, ["status"]).output


@pytest.mark.slow
def test_an_altered_weight_or_calibration_is_a_fault(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "run", copy_function=files.link)
    path = tables.REWARD_PAIRS.path(tmp_path / "run" / "1")
    data = tables.read(path, tables.REWARD_PAIRS)
    half = data.set_column(data.column_names.index("weight"), "weight", pa.array([0.5] * len(data)))
    told = tables.provenance(data)
    told["calibration"]["slope"] += 1
    path.unlink()
    tables.write(path.parent, tables.REWARD_PAIRS, half, told)
    found = [str(fault) for fault in verify(tmp_path / "run", models=False)]
    assert any("weight is 0.5; expected 1.0" in line for line in found)
    assert any("reward_pairs.parquet: calibration is" in line for line in found)
    assert any("train_rm.csv: step" in line and "loss is" in line for line in found)


@pytest.mark.slow
def test_why_tells_of_a_pair_that_r_0_learnt(run: Path) -> None:
    rows = pq.read_table(run / "1" / "reward_pairs.parquet").to_pylist()
    pair = next(row for row in rows if row["kind"] == "seed")
    said = CliRunner().invoke(main, ["why", pair["pair_id"]]).output
    assert f"seed pair {pair['pair_id']}  iteration 1" in said
    assert "r_0 was trained on it, too; 0.02 of r_0's pairs are drawn" in said
    assert "learnt by run/1/reward_model" in said


@pytest.mark.slow
def test_exported_weights_are_part_of_the_way_back_to_r_0_and_the_manifest_says_so(
    run: Path,
) -> None:
    base = run / "0" / "reward_model"
    said = read_manifest(run / "1" / "reward_model").made_by
    assert said["settings"]["average"] == 0.25
    assert said["averaged_with"] == read_manifest(base).digest
    moved, before = (
        load_file(place / "model.safetensors") for place in (run / "1/reward_model", base)
    )
    assert any((moved[name] != before[name]).any() for name in before)


@pytest.mark.slow
def test_a_manifest_that_names_another_r_0_is_a_fault(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "run", copy_function=files.link)
    path = tmp_path / "run" / "1" / "reward_model" / "manifest.json"
    said = files.read_json(path)
    said["made_by"]["averaged_with"] = "0" * 64
    path.unlink()
    files.write_json(path, said)
    found = [str(fault) for fault in verify(tmp_path / "run", models=False)]
    assert any("made_by averaged_with is 0000" in line for line in found)


@pytest.mark.slow
def test_a_seed_pair_that_was_not_drawn_is_a_fault(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "run", copy_function=files.link)
    path = tmp_path / "run" / "0" / "seed_pairs.parquet"
    data = tables.read(path, tables.SEED_PAIRS)
    path.unlink()
    tables.write(path.parent, tables.SEED_PAIRS, data.slice(1), tables.provenance(data))
    found = [str(fault) for fault in verify(tmp_path / "run", models=False)]
    assert any(
        "seed_pairs.parquet: the number of rows is 175; expected 176" in line for line in found
    )
    assert any("reward_pairs.parquet: provenance seed_pairs is" in line for line in found)
