"""`mutual-taught gc` lists what nothing needs, and removes that only; `make test-keeping`."""

import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from click.testing import CliRunner, Result

from mutual_taught.cli import main
from mutual_taught.keeping import disk
from mutual_taught.pipeline import work
from tests import project
from tests.keeping.test_disk_use import du

GRAPH = """
stages:
  dpo:
    foreach: ${iterations}
    do:
      cmd: >-
        mkdir -p run/${key}/checkpoints run/${key}/perf
        && echo ${seed} > run/${key}/checkpoints/weights
        && echo '{"seconds": 100.0}' > run/${key}/perf/dpo.json
      params: [seed]
      outs:
        - run/${key}/checkpoints
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a run in an older commit, the newest, an experiment, and two never committed.

    Their seeds are 1, 2, 3; 4 and 5. The workspace has 5, so only what 4 made is not referred to.
    """
    repo = tmp_path_factory.mktemp("gc") / "repo"
    project.copy(repo, "tiny")
    (repo / "dvc.yaml").write_text(GRAPH)
    for seed in ("1", "2"):
        repro(repo, seed)
        project.git(repo, "add", "-A")
        project.git(repo, "commit", "-qm", seed)
    project.dvc(repo, "exp", "run", "--temp", "-n", "third", "-S", "seed=3")
    for seed in ("4", "5"):
        repro(repo, seed)
    return repo


def repro(repo: Path, seed: str) -> None:
    project.set_param(repo / "params.yaml", "seed", int(seed))
    project.dvc(repo, "repro")


@pytest.fixture
def repo(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, hard links among its files kept, to work in."""
    copy = tmp_path / "repo"
    subprocess.run(["cp", "-a", str(made), str(copy)], check=True)
    monkeypatch.chdir(copy)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    return copy


def gc(*options: str) -> Result:
    return CliRunner().invoke(main, ["gc", *options])


def told(*options: str) -> dict[str, Any]:
    result = gc("--json", *options)
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.output)
    return found


def parts(stage: str, **changed: object) -> Path:
    """Put parts of a stage where it would keep them; its outputs are newer."""
    place = work.root() / stage / "0123456789abcdef"
    place.mkdir(parents=True)
    made_with = {"code": work.code(work.stage_of(stage)), "versions": work.versions(), **changed}
    (place / "fingerprint.json").write_text(json.dumps(made_with))
    (place.parent / "lock").touch()
    (place / "part").write_bytes(bytes(20_000))
    for path in place.iterdir():
        os.utime(path, (1, 1))
    return place


def contents(folder: Path) -> dict[str, bytes]:
    """Read all but git's files and DVC's notes on files."""
    each = (path for path in folder.rglob("*") if path.is_file() and ".git" not in path.parts)
    return {str(path): path.read_bytes() for path in each if ".dvc/tmp" not in str(path)}


def test_nothing_is_removed_unless_told(repo: Path) -> None:
    parts("dpo@1")
    before = contents(repo)
    result = gc()
    assert result.exit_code == 0, result.output
    assert "parts of dpo@1" in result.output
    assert "nothing: up to date (2 min if forced)" in result.output
    assert "nothing was removed; with --yes" in result.output
    assert contents(repo) == before


def test_objects_of_commits_experiments_and_the_workspace_stay(repo: Path) -> None:
    dry = project.dvc(repo, "gc", "--all-commits", "--all-experiments", "--dry", "-f")
    [item] = told("cache")["items"]
    listed = {"".join(Path(path).parts[-2:]) for path in item["paths"]}
    assert listed == {"".join(Path(path).parts[-2:]) for path in re.findall("Removing (/.*)", dry)}
    assert len(listed) == 2  # seed 4's weights, and the list of their folder
    gc("cache", "--yes")
    weights = repo / "run/1/checkpoints/weights"
    assert weights.read_text() == "5\n"
    assert project.ran(project.dvc(repo, "repro")) == set()
    project.dvc(repo, "exp", "apply", "-q", "third")
    assert weights.read_text() == "3\n"
    for commit, seed in (("HEAD", "2"), ("HEAD~1", "1")):
        project.git(repo, "checkout", "-qf", commit)
        project.dvc(repo, "checkout", "-q")
        assert weights.read_text() == f"{seed}\n"


def test_objects_of_older_stashes_stay(repo: Path) -> None:
    before = told("cache")["items"][0]["paths"]
    project.git(repo, "stash", "-q")  # seed 5, in no commit
    repro(repo, "6")
    project.git(repo, "stash", "-q")  # refs/stash names this one alone
    assert told("cache")["items"][0]["paths"] == before
    project.git(repo, "stash", "drop", "-q", "stash@{1}")
    assert len(told("cache")["items"][0]["paths"]) == len(before) + 2


def test_what_is_said_to_come_free_does(repo: Path) -> None:
    parts("dpo@1")
    shutil.copytree("run/1", "run/3", copy_function=os.link)  # cost nothing: the cache has them
    said = told()
    before = du(repo)
    removed = told("--yes")
    assert removed["frees"] == said["frees"]
    # DVC's own notes (.dvc/tmp) change, too, by less than the parts' 20,000 bytes
    assert abs(before - du(repo) - said["frees"]) < 10_000
    assert said["frees"] > 20_000
    assert told()["items"] == []


def test_a_commit_whose_folder_is_unknown_keeps_the_cache(repo: Path) -> None:
    old = project.git(repo, "show", "HEAD~1:dvc.lock")
    md5 = re.findall(r"md5: (\w+)\.dir", old)[0]
    (repo / f".dvc/cache/files/md5/{md5[:2]}/{md5[2:]}.dir").unlink()
    found = told("cache", "--yes")
    assert found["items"] == []
    [reason] = found["kept"]
    assert "what it holds is not known here" in reason


def test_a_cache_that_others_may_use_is_left_alone(repo: Path, tmp_path: Path) -> None:
    shutil.move(repo / ".dvc/cache", tmp_path / "shared")
    project.dvc(repo, "cache", "dir", "--local", str(tmp_path / "shared"))
    found = told("cache", "--yes")
    assert found["items"] == []
    assert "is outside the project" in found["kept"][0]


def test_parts_that_a_stage_may_go_on_with_stay(repo: Path) -> None:
    ended, newer, stale = parts("dpo@1"), parts("dpo@2"), parts("dpo@1-more", code="other")
    (newer / "part").touch()  # of an experiment that was killed after the run
    found = told("work", "--yes")
    assert (ended.exists(), newer.exists(), stale.exists()) == (False, True, False)
    assert found["kept"][0].startswith(".work/dpo@2/0123456789abcdef (")


def test_parts_of_a_stage_that_is_not_up_to_date_stay(repo: Path) -> None:
    place = parts("dpo@1")
    project.set_param(repo / "params.yaml", "seed", 6)
    assert told("work", "--yes")["items"] == []
    assert (place / "part").exists()


def test_what_a_killed_removal_left_goes(repo: Path) -> None:
    place = parts("dpo@2")
    (place / "part").touch()  # as it stood, it would stay
    left = place.rename(place.with_name(disk.GONE + place.name))
    told("work", "--yes")
    assert not left.exists()


def test_a_folder_half_removed_has_another_name(tmp_path: Path) -> None:
    folder = tmp_path / "parts"
    for number in range(10_000):
        path = folder / str(number % 50) / str(number)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    code = (
        "import sys, pathlib, mutual_taught.keeping.disk as disk; "
        "disk.remove(pathlib.Path(sys.argv[1]))"
    )
    removal = subprocess.Popen([sys.executable, "-c", code, folder], env=project.ENVIRONMENT)
    while folder.exists():
        time.sleep(0.001)
    removal.send_signal(signal.SIGKILL)
    assert removal.wait() == -signal.SIGKILL
    assert [path.name for path in tmp_path.iterdir()] == [f"{disk.GONE}parts"]
    disk.remove(tmp_path / f"{disk.GONE}parts")
    assert not list(tmp_path.iterdir())


def test_nothing_goes_while_a_stage_works(repo: Path) -> None:
    place = parts("dpo@1")
    with (place.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        result = gc("--yes")
    assert result.exit_code == 1
    assert result.output == (
        "Error: .work/dpo@1: a stage works there; expected none; wait for it, or stop it\n"
    )
    assert place.exists()


def test_nothing_goes_while_dvc_is_at_work(repo: Path) -> None:
    (repo / "dvc.yaml").write_text("stages:\n  wait:\n    cmd: touch begun && exec sleep 60\n")
    dvc = subprocess.Popen(
        [sys.executable, "-m", "dvc", "repro", "-q"], env=project.ENVIRONMENT, cwd=repo
    )
    try:
        while not (repo / "begun").exists():
            assert dvc.poll() is None
            time.sleep(0.05)
        result = gc("cache", "--yes")
    finally:
        for process in (*psutil.Process(dvc.pid).children(recursive=True), dvc):
            process.kill()
        dvc.wait()
    assert result.exit_code == 1
    assert result.output == (
        f"Error: process {dvc.pid} is a DVC at work in repo; expected none; wait for it, or "
        "stop it (a queue's workers: dvc queue stop)\n"
    )


def test_leftovers_go_and_files_that_no_stage_wrote_stay(repo: Path) -> None:
    shutil.copytree("run/2", "run/3")
    (repo / "run/3/notes.txt").write_text("mine")
    shutil.copytree("run/2", "run/4")
    found = told("leftovers", "--yes")
    assert [item["name"] for item in found["items"]] == ["run/3", "run/4"]
    assert found["items"][0]["again"] == "2 min, or dvc exp apply"
    assert found["kept"] == ["run/3/notes.txt: no stage wrote it"]
    assert sorted(path.name for path in (repo / "run/3").iterdir()) == ["notes.txt"]
    assert not (repo / "run/4").exists()
    assert (repo / "run/2/checkpoints/weights").exists()


def test_folders_of_killed_experiments_and_logs_go(repo: Path) -> None:
    left = repo / ".dvc/tmp/exps/standalone/tmpabc"
    for path in (left / "run/x", repo / "logs/events"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(9_000))
    found = told("temporary", "logs", "--yes")
    assert [item["kind"] for item in found["items"]] == ["temporary", "logs"]
    assert not left.exists()
    assert not (repo / "logs/events").exists()


def test_where_no_project_is_it_is_one_line(here: Path) -> None:
    result = gc()
    assert result.exit_code == 1
    assert result.output.startswith("Error: dvc: NotDvcRepoError: ")
    assert len(result.output.splitlines()) == 1


def test_kind_that_is_none_names_those_that_are(here: Path) -> None:
    result = gc("caches")
    assert result.exit_code == 2
    assert "'work', 'temporary', 'logs', 'leftovers', 'cache'" in result.output
