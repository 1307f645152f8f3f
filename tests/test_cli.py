"""The console command: one project, wherever inside it the user is."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from mutual_taught.cli import main
from tests import project


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
