"""The whole pipeline in one process: every stage's command as dvc.yaml spells it."""

import importlib
import shlex
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner

from mutual_taught.artifacts import files
from mutual_taught.config import params, presets
from mutual_taught.planning import graph
from tests import project

PREPARE = (
    "prepare_prompts",
    "prepare_policy",
    "prepare_reward_model",
    "eval_base",
    "report_base",
)


def commands(path: Path) -> list[tuple[str, str, list[str]]]:
    """List (stage, iteration, arguments) of all stages in an order that DVC might choose."""
    values = project.load_yaml(path)
    iterations = values["iterations"]
    listed = graph.nodes(project.load_yaml(project.ROOT / "dvc.yaml")["stages"], values)
    order = [node for node in listed if "@" not in node.name]
    order += [node for key in iterations for node in listed if node.name.endswith(f"@{key}")]
    return [
        (*node.name.partition("@")[::2], shlex.split(node.command)[3:])  # after python -m stages.x
        for node in order
    ]


def run(name: str, arguments: list[str]) -> None:
    """Run one stage in this process; a failure shows the stage's own words."""
    stage = importlib.import_module(f"stages.{name}").main
    result = CliRunner().invoke(stage, arguments, catch_exceptions=False)
    assert result.exit_code == 0, f"{name} {arguments}: {result.output}"


def enter(
    finished: Path, folder: Path, patch: pytest.MonkeyPatch, ablations: Sequence[str] = ()
) -> None:
    """Copy the finished run of the tiny preset, with ablations in its params, and enter it."""
    repo = project.copy(folder / "repo", "tiny")
    shutil.copytree(finished, repo / "run", copy_function=files.link)
    patch.chdir(repo)
    Path("params.yaml").write_text(presets.compose("tiny", ablations))
    params._parse.cache_clear()


def run_one(name: str, iteration: str) -> None:
    """Run a stage of an iteration; the working directory is the copy."""
    for stage, key, arguments in commands(Path("params.yaml")):
        if (stage, key) == (name, iteration):
            run(stage, arguments)


def run_all(path: Path, begin: tuple[str, str] | None = None) -> None:
    """Run every stage, or from (stage, iteration) on; the working directory is the copy."""
    listed = commands(path)
    first = 0 if begin is None else [(name, key) for name, key, _ in listed].index(begin)
    for name, _, arguments in listed[first:]:
        run(name, arguments)
