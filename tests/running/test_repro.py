"""`mutual-taught run`: which stages there are, what its options are for."""

import shutil
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner, Result

from mutual_taught.cli import main
from mutual_taught.errors import InputError
from mutual_taught.running import repro
from mutual_taught.terminal import near
from tests import project


@pytest.fixture(autouse=True)
def repo(here: Path) -> Path:
    """What says which stages there are."""
    shutil.copy(project.ROOT / "dvc.yaml", here)
    shutil.copy(project.ROOT / "presets" / "tiny.yaml", here / "params.yaml")
    return here


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["run", *arguments])


UNKNOWN = {
    "dpp@1": "did you mean 'dpo@1'",
    "dpo@3": "did you mean 'dpo@2'",
    "Score": "did you mean 'score'",
    "sampel": "did you mean 'sample'",
    "train": "did you mean 'train_rm'",
    "prepare_polic": "did you mean 'prepare_policy'",
    "xyz": "train_rm",
    "": "train_rm",
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_mistyped_stage_is_told_with_those_there_are_and_the_nearest(name: str) -> None:
    result = run(name)
    assert result.exit_code == 1
    begin = (
        f"Error: stage {name!r} does not exist; expected one of prepare_prompts, prepare_policy, "
    )
    assert result.output.startswith(begin)
    assert result.output.strip().endswith(UNKNOWN[name])
    assert result.output.count("\n") == 1


@pytest.mark.parametrize(
    ("path", "stage"),
    [
        ("run/1/policy", "select_policy@1"),
        ("run/1/policy/", "select_policy@1"),
        ("./run/1/policy/config.json", "select_policy@1"),
        ("run/0/prompts.parquet", "prepare_prompts"),
    ],
)
def test_path_is_told_with_the_stage_that_makes_it(path: str, stage: str) -> None:
    said = f"Error: {path!r} is a path; expected a stage; say {stage}, which makes it\n"
    assert run(path).output == said


def test_a_stage_of_every_iteration_and_of_one_can_be_run() -> None:
    for names in (["dpo"], ["dpo@1"], ["dpo@2"], ["prepare_policy"]):
        repro.require_stages(names)
    with pytest.raises(InputError):
        repro.require_stages(["dpo@3"])


@pytest.mark.parametrize("text", ["a: 1", "stages: 3", "stages: {x: {do: 1}}", "stages: {x: 1}"])
def test_graph_that_is_none_is_one_line(text: str) -> None:
    Path("dvc.yaml").write_text(text)
    said = "Error: dvc.yaml: expected stages with cmd, deps and outs; dvc stage list says more\n"
    assert run("dpo").output == said
    assert CliRunner().invoke(main, ["status"]).output == said


CONTRADICTIONS = {
    ("-s",): "--single-item is for TARGETS; expected at least one, such as dpo@1",
    ("--dry", "--pull"): "--dry and --pull exclude each other: a dry run changes nothing",
    ("--dry", "-f"): "--dry and --force exclude each other: with --force every stage",
    ("--dry", "-s", "dpo@1"): "--dry and --single-item exclude each other: what runs is then",
    ("--force", "--pull"): "--force and --pull exclude each other: what is fetched would be made",
}


@pytest.mark.parametrize("flags", CONTRADICTIONS, ids=" ".join)
def test_options_that_contradict_each_other_are_a_usage_error(flags: tuple[str, ...]) -> None:
    result = run(*flags)
    assert result.exit_code == 2
    assert CONTRADICTIONS[flags] in result.output


LINES = ["Stage 'a' didn't change, skipping", "Running stage 'b@1':", "> python -m stages.b"]


@pytest.mark.parametrize(
    ("more", "stage"),
    [
        ([], "b@1"),
        (["Updating lock file 'dvc.lock'"], None),
        (["Updating lock file 'dvc.lock'", "", "Running stage 'c@1':"], "c@1"),
    ],
)
def test_the_stage_at_work_is_the_one_whose_result_is_not_kept_yet(
    more: list[str], stage: str | None
) -> None:
    assert repro.at_work([*LINES, *more]) == stage


def test_nothing_is_at_work_before_the_first_stage() -> None:
    assert repro.at_work(LINES[:1]) is None


def test_names_of_stages_complete_in_any_folder(
    repo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (repo / "run").mkdir()
    monkeypatch.chdir(repo / "run")
    completion = ShellComplete(main, {}, "mutual-taught", "_MUTUAL_TAUGHT_COMPLETE")
    for command in ("run", "plan"):
        found = completion.get_completions([command], "train")
        assert [item.value for item in found] == ["train_rm@1", "train_rm@2", "train_rm"]
    (repo / "params.yaml").write_text("seed: 1\n")
    assert completion.get_completions(["run"], "train") == []


def test_nearest_name_is_one_that_begins_so_if_none_is_alike() -> None:
    assert near.advice("b", ["alpha", "beta-gamma"]).endswith("; did you mean 'beta-gamma'")
    assert near.advice("z", ["alpha"]) == "expected one of alpha"
    assert near.advice("z", []) == "there is none"


def test_ctrl_c_in_any_command_is_exit_code_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("mutual_taught.config.params.validate", interrupted)
    result = CliRunner().invoke(main, ["check"])
    assert (result.exit_code, result.output) == (130, "interrupted\n")
