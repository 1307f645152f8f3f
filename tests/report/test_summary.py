"""What DVC sees of a run: one small file, of the last iteration."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from mutual_taught.artifacts import files
from mutual_taught.audit.verify import verify
from mutual_taught.config import params
from mutual_taught.report import summary
from tests import project


def past(t: int, active: float | None, **metrics: dict[str, float]) -> dict[str, Any]:
    selected = {} if active is None else {"select_policy": {"active": active}}
    return {"iteration": t, "metrics": {**selected, **metrics}}


def test_final_iteration_is_the_last_that_selected_a_checkpoint() -> None:
    assert summary.final_iteration([past(0, None)]) == 0
    assert summary.final_iteration([past(0, None), past(1, 1.0), past(2, 1.0)]) == 2
    assert summary.final_iteration([past(0, None), past(1, 1.0), past(2, 0.0)]) == 1
    assert summary.final_iteration([past(0, None), past(1, 0.0), past(2, 0.0)]) == 0


def test_numbers_are_those_of_the_stages_under_short_names() -> None:
    history = [
        past(0, None),
        past(
            1,
            1.0,
            eval={"policy.gold.mean": 0.7, "policy.gold_vs_base.mean": 0.1},
            build_pairs={"kept": 9.0, "rows": 12.0},
            score={"unscored": 2.0},
        ),
    ]
    history[1]["metrics"]["select_policy"]["win_rate"] = 0.8
    found = {name: value for name, value in summary.numbers(history).items() if value is not None}
    assert found == {
        "final_iteration": 1.0,
        "win_rate": 0.8,
        "gold": 0.7,
        "gold_change": 0.1,
        "pseudo_kept": 0.75,
        "unscored": 2.0,
    }


def fell(nats: float) -> dict[str, dict[str, float]]:
    return {"dpo": {"chosen_logp_change": -nats}}


def test_chosen_responses_that_fell_by_more_than_five_nats_are_a_line() -> None:
    assert list(summary.displacement(2, fell(5.06))) == [
        "Likelihood displacement at t = 2: the log-probability of the chosen answers fell by "
        "5.1 nats, which often shortens answers; try dpo.loss_type nca_pair or "
        "a lower dpo.learning_rate."
    ]


@pytest.mark.parametrize("metrics", [fell(5.0), fell(-9.0), {"dpo": {"active": 0.0}}, {}])
def test_chosen_responses_that_fell_less_or_rose_are_no_line(metrics: dict[str, Any]) -> None:
    assert list(summary.displacement(1, metrics)) == []


def test_summary_of_a_run_has_at_most_twelve_numbers(finished: Path) -> None:
    found = files.read_json(finished / "2" / "metrics" / "summary.json")
    assert 9 < len(found) <= 12
    decision = files.read_json(finished / "2" / "decision.json")
    assert found["final_iteration"] == float(decision["policy_from"])
    assert (
        found["gold"]
        == files.read_json(finished / "2" / "metrics" / "eval.json")["policy.gold.mean"]
    )


def test_summary_of_a_stopped_run_names_the_policy_it_ends_with(stopped: Path) -> None:
    for t in ("1", "2"):
        found = files.read_json(stopped / t / "metrics" / "summary.json")
        assert found["final_iteration"] == 0.0
        assert found["gold_change"] == 0.0
    assert "win_rate" in files.read_json(stopped / "1" / "metrics" / "summary.json")
    assert "win_rate" not in files.read_json(stopped / "2" / "metrics" / "summary.json")


def test_verify_finds_a_summary_that_does_not_follow(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(finished.parent, tmp_path / "repo", symlinks=True)
    monkeypatch.chdir(tmp_path / "repo")
    path = Path("run/2/metrics/summary.json")
    numbers = files.read_json(path)
    path.unlink()
    files.write_json(path, {**numbers, "gold": 0.99})
    found = list(verify(Path("run"), models=False))
    assert [(fault.path, fault.where) for fault in found] == [(path, "gold")]


def test_dvc_sees_the_summary_of_the_last_iteration_and_nothing_else() -> None:
    graph = project.load_yaml(project.ROOT / "dvc.yaml")
    last = list(params.read(project.ROOT / "params.yaml")["iterations"])[-1]
    assert graph["metrics"] == [f"run/{last}/metrics/summary.json"]
    bodies = [stage.get("do", stage) for stage in graph["stages"].values()]
    assert not any("metrics" in body for body in bodies)
    assert "run/${key}/metrics/summary.json" in graph["stages"]["report"]["do"]["outs"]


def test_gold_that_decided_anything_in_any_iteration_is_a_line() -> None:
    judged, labelled = {"judged_by_gold": 1.0}, {"labelled_by_gold": 1.0}
    plain = past(1, 1.0, build_pairs={"kept": 9.0})["metrics"]
    assert list(summary.gold_inside([plain])) == []
    assert list(summary.gold_inside([plain, {"build_pairs": labelled}])) == [
        "Gold is inside the loop: it labelled the pairs on D_M. So it does not measure this run "
        "from outside."
    ]
    [both] = summary.gold_inside([{"select_policy": judged}, {"build_pairs": labelled}])
    assert "it judged the candidates and labelled the pairs on D_M." in both
