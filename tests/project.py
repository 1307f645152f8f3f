"""Copies of the project in temporary folders, and DVC run in them."""

import contextlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from mutual_taught.planning import stale

ROOT = Path(__file__).resolve().parent.parent
PARTS = (
    "dvc.yaml",
    "stages",
    "mutual_taught",
    "data",
    "presets",
    ".dvcignore",
    ".gitignore",
    ".gitattributes",
)
RUNNING = re.compile(r"Running stage '([^']+)'")
ENVIRONMENT = {
    **os.environ,
    "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
    "PYTHONPATH": str(ROOT),
    "DVC_NO_ANALYTICS": "1",
    "HF_HUB_OFFLINE": "1",
    "GIT_CONFIG_COUNT": "2",
    "GIT_CONFIG_KEY_0": "user.name",
    "GIT_CONFIG_VALUE_0": "test",
    "GIT_CONFIG_KEY_1": "user.email",
    "GIT_CONFIG_VALUE_1": "test@example.invalid",
}


def copy(target: Path, preset: str, fake: bool = False) -> Path:
    """Copy what a clone holds, with a preset's params.yaml, as a fresh git repository.

    With `fake`, every stage's command is replaced by one that hashes its deps and params.
    """
    target.mkdir(parents=True)
    for part in PARTS:
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(
                source, target / part, ignore=shutil.ignore_patterns("__pycache__", ".*")
            )
        else:
            shutil.copy(source, target / part)
    shutil.copytree(ROOT / ".dvc" / "plots", target / ".dvc" / "plots")
    for name in ("config", ".gitignore"):
        shutil.copy(ROOT / ".dvc" / name, target / ".dvc" / name)
    shutil.copy(ROOT / "presets" / f"{preset}.yaml", target / "params.yaml")
    if fake:
        _fake_commands(target)
    git(target, "init", "-q")
    git(target, "add", "-A")
    git(target, "commit", "-qm", "start")
    return target


def values_of(stage: dict[str, Any]) -> str:
    """Spell what DVC puts into the texts of a stage, as `name=value` words."""
    names: tuple[str, ...] = ()
    if "matrix" in stage:
        names = ("item.t", "item.name")
    elif "foreach" in stage:
        names = ("item",) if stage["foreach"] == "${benchmarks}" else ("key", "item.prev")
    return " ".join(f"{name}=${{{name}}}" for name in names)


def _fake_commands(target: Path) -> None:
    shutil.copy(ROOT / "tests" / "fake_stage.py", target / "fake_stage.py")
    yaml = YAML()
    path = target / "dvc.yaml"
    graph = yaml.load(path)
    for name, stage in graph["stages"].items():
        body = stage.get("do", stage)
        body["cmd"] = f"python fake_stage.py {name} {values_of(stage)}"
    yaml.dump(graph, path)


def empty(folder: Path) -> None:
    """Make a folder a repository of git and of DVC, without anything in it."""
    git(folder, "init", "-q")
    (folder / ".dvc").mkdir()


def git(repo: Path, *args: str) -> str:
    """Run git."""
    return _run(repo, "git", *args).stdout


def dvc(repo: Path, *args: str) -> str:
    """Run DVC and give what it printed."""
    done = _run(repo, sys.executable, "-m", "dvc", *args)
    return done.stdout + done.stderr


def _run(repo: Path, *command: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        command, cwd=repo, env=ENVIRONMENT, text=True, capture_output=True, check=False
    )
    assert done.returncode == 0, f"{command}: {done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done


def ran(output: str) -> set[str]:
    """Name the stages that DVC says it ran."""
    return set(RUNNING.findall(output))


def planned(repo: Path, action: stale.Action = "run") -> set[str]:
    """Name the stages that a repro would run; or restore, pull, keep."""
    with contextlib.chdir(repo):
        return {todo.stage for todo in stale.find() if todo.action == action}


def set_param(path: Path, name: str, value: object) -> None:
    """Change one value of params.yaml."""
    yaml = YAML(pure=True)
    values = yaml.load(path)
    *parents, last = name.split(".")
    block = values
    for part in parents:
        block = block[part]
    block[last] = value
    yaml.dump(values, path)


def stages(repo: Path) -> list[str]:
    """List the stages of the graph."""
    return dvc(repo, "stage", "list", "--name-only").split()


def load_yaml(path: Path) -> Any:
    """Read YAML 1.2."""
    return YAML(typ="safe", pure=True).load(path.read_text())
