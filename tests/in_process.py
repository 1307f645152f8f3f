"""The whole pipeline in one process: every stage's command as dvc.yaml spells it."""

import importlib
import shlex
from pathlib import Path

from click.testing import CliRunner

from mutual_taught.planning import graph
from tests import project

PREPARE = (
    "prepare_prompts",
    "prepare_policy",
    "prepare_reward_model",
    "eval_base",
    "report_base",
)


def commands(params: Path) -> list[tuple[str, str, list[str]]]:
    """List (stage, iteration, arguments) of all stages in an order that DVC might choose."""
    values = project.load_yaml(params)
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


def run_one(name: str, iteration: str) -> None:
    """Run a stage of an iteration; the working directory is the copy."""
    for stage, key, arguments in commands(Path("params.yaml")):
        if (stage, key) == (name, iteration):
            run(stage, arguments)


def run_all(params: Path, begin: tuple[str, str] | None = None) -> None:
    """Run every stage, or from (stage, iteration) on; the working directory is the copy."""
    listed = commands(params)
    first = 0 if begin is None else [(name, key) for name, key, _ in listed].index(begin)
    for name, _, arguments in listed[first:]:
        run(name, arguments)
