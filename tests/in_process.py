"""The whole pipeline in one process: every stage's command as dvc.yaml spells it."""

import importlib
import shlex
from pathlib import Path

from click.testing import CliRunner

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
    graph = project.load_yaml(project.ROOT / "dvc.yaml")["stages"]
    iterations = project.load_yaml(params)["iterations"]
    each = [name for name in graph if name not in PREPARE]
    order = [(name, "") for name in PREPARE]
    order += [(name, key) for key in iterations for name in each]
    found = []
    for name, key in order:
        command = graph[name].get("do", graph[name])["cmd"]
        if key:
            command = command.replace("${key}", key)
            command = command.replace("${item.prev}", iterations[key]["prev"])
        found.append((name, key, shlex.split(command)[3:]))
    return found


def run(name: str, arguments: list[str]) -> None:
    """Run one stage in this process; a failure shows the stage's own words."""
    stage = importlib.import_module(f"stages.{name}").main
    result = CliRunner().invoke(stage, arguments, catch_exceptions=False)
    assert result.exit_code == 0, f"{name} {arguments}: {result.output}"


def run_all(params: Path, begin: tuple[str, str] | None = None) -> None:
    """Run every stage, or from (stage, iteration) on; the working directory is the copy."""
    listed = commands(params)
    first = 0 if begin is None else [(name, key) for name, key, _ in listed].index(begin)
    for name, _, arguments in listed[first:]:
        run(name, arguments)
