"""Two arms of a tiny study, for real: killed, gone on with, shared, measured."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pyarrow.compute as pc
import pytest

from study import results
from study.plan import ROOT, Unit

pytestmark = pytest.mark.slow
ARMS = """
testbeds: {laptop: {preset: tiny, set: {iterations: {"2": null}}}}
arms:
  mutual: {is: both learn}
  fixed: {is: r_0 stays, with: [fixed-reward-model]}
order:
  - {name: all, arms: [mutual, fixed], seeds: [1], formats: [float32]}
"""
MUTUAL, FIXED = (Unit(arm, 1, "float32") for arm in ("mutual", "fixed"))
LIMIT = 300.0  # seconds until a process that makes no progress is a failure


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of the study, which was killed in its first unit and begun again."""
    home = tmp_path_factory.mktemp("study")
    (home / "arms.yaml").write_text(ARMS)
    log = home / "work/logs" / f"{MUTUAL.name}.log"
    begun = subprocess.Popen(
        command(home), cwd=ROOT, env=without_dvc(home), stdout=subprocess.DEVNULL
    )
    wait(lambda: log.exists() and "prepare_policy: " in log.read_text())
    begun.send_signal(signal.SIGKILL)
    begun.wait()
    wait(lambda: not alive(home))
    assert not results.path(home / "results", MUTUAL).exists()
    done = subprocess.run(
        command(home),
        cwd=ROOT,
        env=without_dvc(home),
        text=True,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return home


def without_dvc(home: Path) -> dict[str, str]:
    """Give an environment in which DVC cannot be imported, as on a machine that has none."""
    (home / "hidden" / "dvc").mkdir(parents=True, exist_ok=True)
    (home / "hidden" / "dvc" / "__init__.py").write_text("raise ImportError('no DVC here')\n")
    return {**os.environ, "PYTHONPATH": str(home / "hidden")}


def command(home: Path) -> list[str]:
    places = {name: home / name for name in ("results", "work", "cache")}
    options = [text for name, path in places.items() for text in (f"--{name}", str(path))]
    arms = ["--arms", str(home / "arms.yaml")]
    return [sys.executable, "-m", "study", "run", "--hours", "1", "--jobs", "2", *arms, *options]


def wait(happened: Callable[[], bool]) -> None:
    end = time.monotonic() + LIMIT
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.2)


def alive(home: Path) -> bool:
    """Tell whether a unit of this study is at work."""
    for other in psutil.process_iter(["cmdline"]):
        words = other.info["cmdline"] or []
        if "unit" in words and str(home / "work") in words:
            return True
    return False


def computed(home: Path, stage: str) -> int:
    """Count how often a stage was computed, not taken from another unit or an earlier try."""
    lines = [
        line
        for log in (home / "work/logs").glob("*.log")
        for line in log.read_text().splitlines()
        if line.startswith(f"{stage}: ")
    ]
    assert len(lines) >= 2, stage
    return len([line for line in lines if not line.endswith("shared")])


def test_a_killed_study_goes_on_where_it_was(found: Path) -> None:
    assert computed(found, "prepare_prompts") == computed(found, "prepare_policy") == 1


def test_arms_of_a_seed_share_stages_until_they_differ(found: Path) -> None:
    assert computed(found, "sample@1") == computed(found, "build_pairs@1") == 1
    assert computed(found, "train_rm@1") == computed(found, "eval@1") == 2


def test_a_unit_has_the_numbers_of_the_pipeline(found: Path, finished: Path) -> None:
    rows = results.read(results.path(found / "results", MUTUAL)).rows.to_pylist()
    own = {row["measure"]: row["value"] for row in rows if (row["t"], row["prompt_id"]) == (1, "")}
    for stage in ("dpo", "select_policy", "build_pairs", "train_rm", "eval"):
        expected = json.loads((finished / f"1/metrics/{stage}.json").read_text())
        assert {name: own[f"{stage}.{name}"] for name in expected} == expected


def test_prompts_of_a_unit_average_to_its_gold(found: Path) -> None:
    rows = results.read(results.path(found / "results", FIXED)).rows
    of_first = rows.filter(pc.equal(rows["t"], 1))
    gold = of_first.filter(pc.equal(of_first["measure"], "gold"))["value"].to_numpy()
    whole = of_first.filter(pc.equal(of_first["measure"], "eval.policy.gold.mean"))["value"]
    assert gold.mean() == pytest.approx(whole[0].as_py())


def test_a_finished_study_has_nothing_to_run(found: Path) -> None:
    done = subprocess.run(command(found), cwd=ROOT, text=True, capture_output=True, check=True)
    assert done.stdout.startswith("0 of 2 units to run")
    assert not [path for path in (found / "work").iterdir() if path.name != "logs"]
