"""The tiny preset from start to end: in one process, stopped early, and under DVC."""

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from mutual_taught.artifacts import decision, files, tables
from mutual_taught.artifacts.manifests import STEP, read_manifest
from mutual_taught.report.pictures import gallery
from tests import in_process, project

MISSING_ONLY_IF_STOPPED = ("answers", "answer_rewards", "pseudo_pairs", "reward_pairs")
PER_ITERATION = (
    tables.RESPONSES,
    tables.REWARDS,
    tables.RANKED_PAIRS,
    tables.DUELS,
    tables.PREVIOUS_ANSWERS,
    tables.ANSWERS,
    tables.ANSWER_REWARDS,
    tables.PSEUDO_PAIRS,
    tables.REWARD_PAIRS,
)


def rows(run: Path, t: int, table: tables.Table) -> list[dict[str, object]]:
    data = tables.read(run / str(t) / f"{table.name}.parquet", table)
    return list(data.to_pylist())


@pytest.mark.parametrize("table", PER_ITERATION, ids=lambda table: table.name)
@pytest.mark.parametrize("t", [1, 2])
def test_every_table_of_an_active_iteration_has_rows(
    finished: Path, t: int, table: tables.Table
) -> None:
    assert rows(finished, t, table)


def test_chosen_is_the_shortest_above_the_mean_and_rejected_the_worst(finished: Path) -> None:
    for t in (1, 2):
        scored = {
            (r["prompt_id"], r["response_index"]): r for r in rows(finished, t, tables.REWARDS)
        }
        drawn = rows(finished, t, tables.RESPONSES)
        for pair in rows(finished, t, tables.RANKED_PAIRS):
            mine = [r for r in drawn if r["prompt_id"] == pair["prompt_id"]]
            rewards = [
                float(str(scored[r["prompt_id"], r["response_index"]]["reward"])) for r in mine
            ]
            above = [i for i, reward in enumerate(rewards) if reward > sum(rewards) / len(rewards)]
            shortest = min(above, key=lambda i: int(str(mine[i]["length_tokens"])))
            assert (pair["chosen_index"], pair["rejected_index"]) == (
                shortest,
                rewards.index(min(rewards)),
            )


def test_the_tolerance_is_the_deviation_of_the_previous_rewards(finished: Path) -> None:
    for t in (1, 2):
        path = finished / str(t) / "pseudo_pairs.parquet"
        data = tables.read(path, tables.PSEUDO_PAIRS)
        said = tables.provenance(data)["tolerance"]
        previous = [
            float(str(r["previous_reward"])) for r in rows(finished, t, tables.ANSWER_REWARDS)
        ]
        assert said == pytest.approx(np.std(previous))
        for row in data.to_pylist():
            if row["kept"]:
                assert row["reward_margin"] > -said
            elif row["reason"] == "margin":
                assert row["reward_margin"] <= -said


def test_the_selected_checkpoint_won_most_duels(finished: Path) -> None:
    for t in (1, 2):
        metrics = files.read_json(finished / str(t) / "metrics" / "select_policy.json")
        won: dict[int, list[float]] = {}
        for duel in rows(finished, t, tables.DUELS):
            won.setdefault(int(str(duel["step"])), []).append(float(str(duel["outcome"])))
        rates = {step: sum(values) / len(values) for step, values in won.items()}
        assert metrics["win_rate"] == pytest.approx(max(rates.values()))
        assert metrics["step"] == min(s for s, r in rates.items() if r == max(rates.values()))
        folder = finished / str(t) / "checkpoints" / STEP.format(int(metrics["step"]))
        assert read_manifest(folder).digest == read_manifest(finished / str(t) / "policy").digest


def test_the_reward_model_starts_again_from_r_0_on_ranked_and_pseudo_pairs(finished: Path) -> None:
    base = read_manifest(finished / "0" / "reward_model").digest
    for t in (1, 2):
        assert read_manifest(finished / str(t) / "reward_model").parent == base
        assert {r["kind"] for r in rows(finished, t, tables.REWARD_PAIRS)} == {"ranked", "pseudo"}
        assert {r["iteration"] for r in rows(finished, t, tables.REWARD_PAIRS)} == {t}


def test_training_moves_both_models(finished: Path) -> None:
    for kind in ("policy", "reward_model"):
        digests = {read_manifest(finished / str(t) / kind).digest for t in (0, 1, 2)}
        assert len(digests) == 3


def test_iterations_sample_on_prompts_of_their_own(finished: Path) -> None:
    first, second = ({r["prompt_id"] for r in rows(finished, t, tables.RESPONSES)} for t in (1, 2))
    assert not first & second


def test_no_table_holds_a_time_and_no_output_a_pickle(finished: Path) -> None:
    assert not [path for path in finished.rglob("*") if path.suffix in (".bin", ".pt", ".pkl")]
    for path in finished.rglob("*.parquet"):
        assert set(pq.read_schema(path).metadata or {}) == {
            b"mutual_taught.version",
            b"mutual_taught.rows_sha256",
            b"mutual_taught.active",
            b"mutual_taught.provenance",
            b"mutual_taught.columns_sha256",
        }


def test_the_report_shows_every_iteration(finished: Path) -> None:
    page = (finished / "2" / "report" / "report.md").read_text()
    assert "| state | start | active | active |" in page
    drawn = (finished / "2" / "report" / "index.html").read_text(encoding="utf-8")
    for module in gallery.MODULES:
        assert f'id="{module.NAME}-title"' in drawn


def test_a_threshold_above_one_stops_in_the_first_iteration(stopped: Path) -> None:
    for t in (1, 2):
        assert decision.read(stopped / str(t) / "decision.json") == decision.Decision(False, "0")
    assert rows(stopped, 1, tables.DUELS)
    for name in MISSING_ONLY_IF_STOPPED:
        assert pq.read_metadata(stopped / "1" / f"{name}.parquet").num_rows == 0
    for table in PER_ITERATION:
        assert pq.read_metadata(stopped / "2" / f"{table.name}.parquet").num_rows == 0


def test_a_stopped_iteration_passes_the_base_models_on_as_links(stopped: Path) -> None:
    for kind in ("policy", "reward_model"):
        inodes = {(stopped / str(t) / kind / "model.safetensors").stat().st_ino for t in (0, 1, 2)}
        assert len(inodes) == 1


def test_a_stopped_iteration_is_evaluated_as_a_copy(stopped: Path) -> None:
    base = files.read_json(stopped / "0" / "metrics" / "eval.json")
    for t in (1, 2):
        metrics = files.read_json(stopped / str(t) / "metrics" / "eval.json")
        assert metrics == {**base, "active": 0.0}
    page = (stopped / "2" / "report" / "report.md").read_text()
    assert "| state | start | stopped here | stopped before |" in page


@pytest.fixture(scope="module")
def under_dvc(tmp_path_factory: pytest.TempPathFactory, finished: Path) -> Path:
    """The finished run as DVC would have left it, committed; some of its stages DVC did run.

    tests/whole/docs has all stages of both iterations under DVC.
    """
    repo = project.copy(tmp_path_factory.mktemp("dvc") / "repo", "tiny")
    shutil.copytree(finished, repo / "run")
    project.dvc(repo, "commit", "--force", "--quiet")
    assert project.ran(project.dvc(repo, "repro", "--force", "--single-item", *RUN)) == set(RUN)
    project.git(repo, "add", "-A")
    project.git(repo, "commit", "-qm", "run")
    return repo


RUN = ("score@1", "rank_pairs@1", "dpo@1")


@pytest.mark.slow
def test_dvc_repro_makes_the_same_bytes_as_one_process(under_dvc: Path, finished: Path) -> None:
    assert_same_run(under_dvc / "run", finished, (0, 1, 2))


def assert_same_run(run: Path, expected: Path, iterations: Sequence[int]) -> None:
    """Compare every file of these iterations, but for how long each took."""
    for t in iterations:
        for path in sorted((expected / str(t)).rglob("*")):
            if path.is_file() and path.parent.name != "perf":
                assert (run / path.relative_to(expected)).read_bytes() == path.read_bytes(), path


@pytest.mark.slow
def test_a_second_repro_runs_nothing_and_git_has_no_results(
    under_dvc: Path, tmp_path: Path
) -> None:
    assert "up to date" in project.dvc(under_dvc, "repro")
    tracked = project.git(under_dvc, "ls-files").split()
    assert "dvc.lock" in tracked
    assert not [name for name in tracked if name.startswith(("run/", ".work/"))]
    clone = tmp_path / "clone"
    project.git(tmp_path, "clone", "-q", str(under_dvc), str(clone))
    dry = project.dvc(clone, "repro", "--allow-missing", "--dry")
    assert project.ran(dry) == set()


@pytest.mark.slow
def test_a_killed_repro_goes_on_and_ends_with_the_same_bytes(
    under_dvc: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repo = tmp_path / "repo"
    shutil.copytree(under_dvc, repo)
    # 360 steps, which are seconds, and the first can be resumed from a fraction of one.
    changes = {"dpo.epochs": 120, "dpo.save_steps": 10_000, "training.resume_steps": 10}
    for name, value in changes.items():
        project.set_param(repo / "params.yaml", name, value)
    process = subprocess.Popen(
        [sys.executable, "-m", "dvc", "repro", "dpo@1"],
        cwd=repo,
        env=project.ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while not _marks(repo):
        assert process.poll() is None, "dpo@1 ended before it could be killed"
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    time.sleep(1.0)
    assert not (repo / "run" / "1" / "checkpoints" / "steps.json").exists()
    resumed = max(int(path.parent.name.split("-")[1]) for path in _marks(repo))
    assert project.ran(project.dvc(repo, "repro", "dpo@1")) == {"dpo@1"}
    found = _trained(repo)
    for name in (".work", *OF_DPO):
        subprocess.run(["rm", "-rf", name], cwd=repo, check=True)
    monkeypatch.chdir(repo)
    in_process.run_one("dpo", "1")
    assert 10 <= resumed < 360
    assert found == _trained(repo)


OF_DPO = ("run/1/checkpoints", "run/1/curves/dpo.csv", "run/1/metrics/dpo.json")


def _marks(repo: Path) -> list[Path]:
    return list((repo / ".work" / "dpo@1").glob("*/trainer/*/COMPLETE"))


def _trained(repo: Path) -> dict[str, bytes]:
    """Read what dpo@1 wrote."""
    paths = [path for name in OF_DPO for path in (repo / name, *(repo / name).rglob("*"))]
    return {str(path.relative_to(repo)): path.read_bytes() for path in paths if path.is_file()}
