"""The console command: one project, wherever inside it the user is."""

import importlib
import re
import subprocess
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from mutual_taught.cli import main
from tests import project

STAGES = [path for path in (project.ROOT / "stages").glob("*.py") if path.stem[0] != "_"]


@pytest.fixture
def inside(here: Path) -> Path:
    (here / "params.yaml").write_text((project.ROOT / "presets" / "tiny.yaml").read_text())
    (here / "run" / "0" / "metrics").mkdir(parents=True)
    return here


def test_commands_find_the_project_from_any_folder_inside_it(
    inside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(inside / "run" / "0")
    result = CliRunner().invoke(main, ["check"])
    assert result.output == "params.yaml is in order; 2 iterations\n"
    assert Path.cwd() == inside / "run" / "0"


def test_a_path_that_is_typed_is_relative_to_where_the_user_is(
    inside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(inside / "run")
    by_default = CliRunner().invoke(main, ["status"])
    assert "Mutual-Taught in run: " in by_default.output
    (inside / "other" / "0" / "metrics").mkdir(parents=True)
    typed = CliRunner().invoke(main, ["status", "--run", "../other"])
    assert "Mutual-Taught in other: " in typed.output


@pytest.mark.parametrize("name", [[], *([name] for name in main.commands)])
def test_every_command_has_help_by_its_short_name(name: list[str]) -> None:
    result = CliRunner().invoke(main, [*name, "-h"])
    assert result.exit_code == 0
    assert result.output.startswith("Usage: ")


def test_summaries_of_all_commands_are_whole_and_fit_80_columns() -> None:
    said = CliRunner().invoke(main, ["-h"], env={"COLUMNS": "80"}).output
    lines = said.split("Commands:\n")[1].splitlines()
    assert [line.split()[0] for line in lines] == sorted(main.commands)
    for line in lines:
        assert len(line) <= 80, line
        assert line.endswith("."), line
        assert not line.endswith("..."), line


@pytest.mark.parametrize("name", main.commands)
def test_help_shows_defaults_and_choices_and_an_example(name: str) -> None:
    said = " ".join(CliRunner().invoke(main, [name, "-h"], env={"COLUMNS": "80"}).output.split())
    for option in main.commands[name].params:
        if isinstance(option.type, click.Choice):
            assert "|".join(map(str, option.type.choices)) in said.replace("- ", "-")
        plain = isinstance(option, click.Option) and not option.is_flag
        if plain and isinstance(option.default, int | float | str) and option.default != "":
            assert f"[default: {option.default}" in said
    assert f"mutual-taught {name}" in said
    assert "\\b" not in said


def test_exit_codes_are_in_the_help() -> None:
    said = CliRunner().invoke(main, ["-h"]).output
    assert "Exit codes: 0 it went well; 1 refused or failed, in one line; 2 a mistyped" in said


@pytest.mark.parametrize(
    ("arguments", "near"),
    [
        (["stauts"], "Did you mean 'status'?"),
        (["run", "--forse"], "Did you mean '--force'?"),
        (["preset", "lap"], "is not one of 'tiny', 'laptop', 'single-gpu', 'paper'"),
        (["preset", "tiny", "--with", "no-filters"], "did you mean 'no-filter'"),
    ],
)
def test_mistyped_name_is_told_with_the_nearest(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], near: str
) -> None:
    monkeypatch.chdir(project.ROOT)
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == (1 if "--with" in arguments else 2)
    assert near in result.output


@pytest.mark.parametrize("stage", sorted(path.stem for path in STAGES))
def test_stage_has_help_by_its_short_name(stage: str) -> None:
    command = importlib.import_module(f"stages.{stage}").main
    result = CliRunner().invoke(command, ["-h"])
    assert result.exit_code == 0
    assert result.output.startswith("Usage: ")


@pytest.mark.slow
def test_bare_make_lists_every_target_a_line_each() -> None:
    said = subprocess.run(
        ["make", "--no-print-directory"],
        cwd=project.ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    [phony] = re.findall(r"^\.PHONY: help (.*)$", (project.ROOT / "Makefile").read_text(), re.M)
    lines = said.splitlines()
    assert sorted(line.split()[0] for line in lines[1:]) == sorted(phony.split())
    assert max(map(len, lines)) <= 80
    assert len({re.match(r"  \S+ +", line).end() for line in lines[1:]}) == 1  # type: ignore[union-attr]
