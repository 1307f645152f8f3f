"""Judges for real: servers in processes of their own, one with a model, runs that are killed."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from mutual_taught.artifacts import files, tables
from tests import project
from tests.conftest import run_tiny
from tests.once import once

COUNT = 30
JUDGE = [sys.executable, "-m", "mutual_taught", "judge", "own.jsonl", "other.jsonl"]


class Remote(NamedTuple):
    """A server in another process."""

    address: str

    def counts(self) -> dict[str, int]:
        with urllib.request.urlopen(f"{self.address}/counts") as reply:
            return dict(json.load(reply))


@contextmanager
def server(*words: str) -> Iterator[Remote]:
    command = [sys.executable, "-m", "tests.judge_server", *words]
    with subprocess.Popen(
        command, cwd=project.ROOT, env=project.ENVIRONMENT, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            yield Remote(f"http://127.0.0.1:{int(process.stdout.readline())}/v1")
        finally:
            process.kill()


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A folder with two files of answers, half of them longer in the one, half in the other."""
    (tmp_path / "params.yaml").write_bytes((project.ROOT / "presets/tiny.yaml").read_bytes())
    for name, odd in (("own", 0), ("other", 1)):
        rows = [
            {
                "prompt": f"Name boat {n}.",
                "response": "A boat of a long name." if n % 2 == odd else "X",
            }
            for n in range(COUNT)
        ]
        text = "".join(f"{json.dumps(row)}\n" for row in rows)
        (tmp_path / f"{name}.jsonl").write_text(text)
    return tmp_path


def command(remote: Remote, *words: str) -> list[str]:
    place = ["--base-url", remote.address, "--key-variable", "", "--model", "tiny"]
    return [*JUDGE, *place, "--out", "judged", *words]


def judge(here: Path, remote: Remote, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(remote, *words),
        cwd=here,
        env=project.ENVIRONMENT,
        text=True,
        capture_output=True,
        check=False,
    )


def metrics(here: Path, style: str = "alpaca_eval") -> dict[str, float]:
    prefix = f"win_rate.vs_other.{style}.tiny."
    found = files.read_json(here / "judged" / "metrics.json")
    return {name.removeprefix(prefix): value for name, value in found.items()}


def stored(here: Path) -> list[str]:
    path = here / "judged" / "verdicts.jsonl"
    return path.read_text().splitlines() if path.exists() else []


@pytest.mark.parametrize("fault", ["429", "500", "cut", "nonsense", "html"])
def test_a_server_that_fails_every_third_time_gives_all_verdicts_in_the_end(
    fault: str, here: Path
) -> None:
    with server("--fault", fault, "--every", "3") as remote:
        done = judge(here, remote, "--concurrency", "4")
        assert done.returncode == 0, done.stderr
        counts = remote.counts()
    assert metrics(here)["mean"] == 0.5
    assert metrics(here)["failures"] == 0
    assert metrics(here)["consistency"] == 1
    assert counts["asked"] == 2 * COUNT
    assert counts["twice"] == 0


def test_a_server_that_is_too_slow_now_and_then_is_asked_again(here: Path) -> None:
    with server("--fault", "slow", "--every", "20") as remote:
        done = judge(here, remote, "--timeout", "0.5")
    assert done.returncode == 0, done.stderr
    assert metrics(here)["mean"] == 0.5


@contextmanager
def begun(here: Path, remote: Remote, *words: str) -> Iterator[subprocess.Popen[str]]:
    """Lend a judging that has some verdicts, and has others under way."""
    process = subprocess.Popen(
        command(remote, *words),
        cwd=here,
        env=project.ENVIRONMENT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    until = time.monotonic() + 120
    while len(stored(here)) < 10:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.02)
    yield process
    process.communicate(timeout=60)


def test_an_interrupted_judging_waits_for_what_is_paid_for_and_asks_nothing_twice(
    here: Path,
) -> None:
    with server("--delay", "0.2") as remote:
        with begun(here, remote, "--concurrency", "4") as process:
            process.send_signal(signal.SIGINT)
        assert process.returncode == 130
        before = len(stored(here))
        assert remote.counts()["asked"] == before < 2 * COUNT
        assert judge(here, remote).returncode == 0
        counts = remote.counts()
    assert (counts["asked"], counts["twice"]) == (2 * COUNT, 0)


def test_a_killed_judging_asks_again_only_what_was_under_way(here: Path) -> None:
    with server("--delay", "0.2") as remote:
        with begun(here, remote, "--concurrency", "4") as process:
            process.kill()
        path = here / "judged" / "verdicts.jsonl"
        kept = path.read_bytes()
        assert kept.endswith(b"\n")
        path.write_bytes(kept + kept[:30])  # as if it had been killed while it wrote
        time.sleep(0.5)  # what was under way is answered, and nobody hears it
        before = remote.counts()
        done = judge(here, remote)
        assert done.returncode == 0
        assert "a half-written last line is cut off" in done.stderr
        counts = remote.counts()
    assert counts["asked"] - before["asked"] == 2 * COUNT - kept.count(b"\n")
    assert counts["twice"] <= 4


def test_a_judge_of_a_model_gives_log_probs_and_verdicts_of_both_styles(
    here: Path, policy_folder: Path
) -> None:
    with server("--policy", str(policy_folder)) as remote:
        done = judge(here, remote)
        assert done.returncode == 0, done.stderr
        assert judge(here, remote, "--judge", "arena_hard", "--max-tokens", "4").returncode == 0
        counts = remote.counts()
    # A random model of two layers: that it answers is all that is tested, not what.
    assert (counts["asked"], counts["twice"]) == (4 * COUNT, 0)
    lines = [json.loads(line) for line in stored(here)]
    assert sum(line["logprobs"] is not None for line in lines) == 2 * COUNT
    assert metrics(here, "arena_hard")["comparisons"] == COUNT


@pytest.fixture(scope="module")
def repo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny run without a judge, which DVC takes for its own."""

    def make(repo: Path) -> None:
        run_tiny(repo, {"dpo.learning_rate": 1e-2})  # so that answers differ
        project.dvc(repo, "commit", "--force")

    return once(tmp_path_factory, "judged", make)


def test_in_a_pipeline_the_judge_runs_alone_and_is_not_asked_again(repo: Path) -> None:
    with server() as remote:
        changes: dict[str, Any] = {
            "judge.model": "tiny",
            "judge.endpoint.base_url": remote.address,
            "judge.endpoint.key_variable": None,
            "judge.iterations": {"1": {"prev": "0"}, "2": {"prev": "1"}},
        }
        for name, value in changes.items():
            project.set_param(repo / "params.yaml", name, value)
        assert project.ran(project.dvc(repo, "repro")) == {"judge@1", "judge@2"}
        assert remote.counts()["asked"] > 0
        assert project.ran(project.dvc(repo, "repro")) == set()
        asked = remote.counts()
        forced = project.dvc(repo, "repro", "--single-item", "--force", "judge@2")
        assert project.ran(forced) == {"judge@2"}
        assert remote.counts() == {**asked, "twice": 0}
        project.set_param(repo / "params.yaml", "judge.style", "arena_hard")
        assert project.ran(project.dvc(repo, "repro")) == {"judge@1", "judge@2"}
        assert remote.counts()["asked"] == 2 * asked["asked"]
    said = subprocess.run(
        [sys.executable, "-m", "mutual_taught", "verify", "--no-models"],
        cwd=repo,
        env={**project.ENVIRONMENT, "PYTHONPATH": str(repo)},
        text=True,
        capture_output=True,
        check=False,
    )
    assert said.returncode == 0, said.stdout + said.stderr
    data = tables.read(repo / "run/2/verdicts.parquet", tables.VERDICTS)
    assert tables.provenance(data)["style"] == "arena_hard"
    project.set_param(repo / "params.yaml", "judge.iterations", {})
    assert project.ran(project.dvc(repo, "repro")) == set()


def test_no_key_is_left_in_any_file_or_message(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = "sk-0123456789abcdef"
    monkeypatch.setitem(project.ENVIRONMENT, "A_KEY", key)
    with server("--fault", "401") as remote:
        refused = judge(here, remote, "--key-variable", "A_KEY")
    with server() as remote:
        done = judge(here, remote, "--key-variable", "A_KEY")
    assert (refused.returncode, done.returncode) == (1, 0)
    assert refused.stderr.count("\n") == 1
    assert key not in refused.stderr + refused.stdout + done.stderr + done.stdout
    written = [Path(folder, name) for folder, _, names in os.walk(here) for name in names]
    assert all(key.encode() not in path.read_bytes() for path in written)
