"""Presets: DVC writes them as they are, and a params.yaml of the user's is told from them."""

import itertools
from difflib import ndiff
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner
from dvc.utils.hydra import apply_overrides
from dvc.utils.serialize import modify_yaml
from ruamel.yaml import YAML

from mutual_taught.cli import main
from mutual_taught.config import presets
from mutual_taught.errors import InputError
from tests import project

NAMES = sorted(path.stem for path in (project.ROOT / "presets").glob("*.yaml"))
ABLATIONS = sorted(path.stem for path in (project.ROOT / "presets" / "ablations").glob("*.yaml"))
each_preset = pytest.mark.parametrize("name", NAMES)


@pytest.fixture(autouse=True)
def in_root(monkeypatch: pytest.MonkeyPatch) -> None:
    """The project's own folder as working directory; nothing is written there."""
    monkeypatch.chdir(project.ROOT)


def write(text: str, folder: Path) -> Path:
    path = folder / "params.yaml"
    path.unlink(missing_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def changed(before: str, after: str) -> list[str]:
    lines = ndiff(before.splitlines(), after.splitlines())
    return [line for line in lines if line[0] in "+-"]


@pytest.mark.slow
@each_preset
def test_dvc_writes_a_preset_as_it_is_with_every_ablation(name: str, tmp_path: Path) -> None:
    for ablations in [[], *([one] for one in ABLATIONS)]:
        text = presets.compose(name, ablations)
        path = write(text, tmp_path)
        with modify_yaml(str(path)):
            pass
        assert path.read_text(encoding="utf-8") == text, ablations


@each_preset
@pytest.mark.parametrize("ablation", ["", "offline-dpo", "three-iterations"])
@pytest.mark.parametrize(
    "change",
    [
        "dpo.beta=0.0525",
        "dpo.learning_rate=5e-7",
        "train_rm.fixed=null",
        "tokens.date='2026-01-31'",
        "models.policy.path=models/mine",
        "data.splits.eval.prompts=7",
    ],
)
def test_a_value_set_by_dvc_changes_one_line(
    name: str, ablation: str, change: str, tmp_path: Path
) -> None:
    text = presets.compose(name, [ablation] if ablation else [])
    path = write(text, tmp_path)
    apply_overrides(str(path), [change])
    assert [line[0] for line in changed(text, path.read_text())] == ["-", "+"]


@each_preset
def test_an_iteration_added_by_dvc_adds_only_its_lines(name: str, tmp_path: Path) -> None:
    text = presets.compose(name, [])
    path = write(text, tmp_path)
    apply_overrides(str(path), ['+iterations.3={prev: "2", sample: {}, dpo: {}, train_rm: {}}'])
    said = changed(text, path.read_text())
    keys = ["'3':", "prev: '2'", "sample: {}", "dpo: {}", "train_rm: {}"]
    assert [line.removeprefix("+").strip() for line in said] == keys


@pytest.mark.slow
@each_preset
def test_every_preset_is_known_with_any_ablation(name: str, tmp_path: Path) -> None:
    for ablations in [[], *([one] for one in ABLATIONS)]:
        assert presets.known(write(presets.compose(name, ablations), tmp_path)), ablations


@pytest.mark.slow
def test_presets_with_several_ablations_are_known_in_any_order(tmp_path: Path) -> None:
    """The first two set the same key, and so do the last two: whichever comes last stands."""
    several = ["random-pairs", "highest-reward", "positive-only", "no-filter"]
    for order in itertools.permutations(several):
        assert presets.known(write(presets.compose("laptop", order), tmp_path)), order
    together = ["three-iterations", "warm-start", "no-filter", "no-selection"]
    assert presets.known(write(presets.compose("tiny", together), tmp_path))


def test_comments_and_layout_of_a_preset_do_not_count(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    plain = YAML(typ="safe", pure=True)
    values = plain.load(Path("presets/laptop.yaml"))
    plain.dump({key: values[key] for key in reversed(values)}, path)
    assert path.read_text() != Path("presets/laptop.yaml").read_text()
    assert presets.known(path)


MINE = {
    "a value": ("beta: 0.1", "beta: 0.07"),
    "a value of one iteration": ("dpo: {}", "dpo: {beta: 0.05}"),
    "an iteration that is gone": ("  '2': {prev: '1', sample: {}, dpo: {}, train_rm: {}}\n", ""),
    "a key more": ("examples: 3", "examples: 3\n  other: 1"),
    "no YAML": ("seed: 1", "seed: [1"),
}


@pytest.mark.parametrize("what", MINE)
def test_a_file_that_no_preset_explains_is_the_users(what: str, tmp_path: Path) -> None:
    old, new = MINE[what]
    text = presets.compose("laptop", [])
    assert old in text
    assert not presets.known(write(text.replace(old, new, 1), tmp_path))


@pytest.mark.parametrize(
    ("values", "known"),
    [
        ("{x: {a: 1, b: 2, c: 0}, y: {d: 0}}", True),  # both, then one
        ("{x: {a: 1, b: 1, c: 0}, y: {d: 0}}", True),  # one, then both
        ("{x: {a: 0, b: 1, c: 0}, y: {d: 0}}", False),  # half of both
        ("{x: {a: 1, b: 0, c: 0}, y: {d: 0}}", False),
        ("{x: {a: 1, b: 2, c: 0}}", True),  # and without y
        ("{x: {a: 1, b: 2, c: 0}, y: {}}", False),
        ("{x: {a: 1, b: 2, c: 5}, y: {d: 0}}", False),
    ],
)
def test_an_ablation_may_change_a_part_of_another_but_not_be_there_in_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, values: str, known: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("presets/ablations").mkdir(parents=True)
    Path("presets/start.yaml").write_text("{x: {a: 0, b: 0, c: 0}, y: {d: 0}}")
    for name, change in {
        "both": "{x: {a: 1, b: 1}}",
        "one": "{x: {b: 2}}",
        "gone": "{y: null}",
    }.items():
        Path(f"presets/ablations/{name}.yaml").write_text(change)
    assert presets.known(write(values, tmp_path)) == known


def test_composing_leaves_the_ablations_as_they_are() -> None:
    """Values of one file must not be shared with the text of the next."""
    first = presets.compose("tiny", ["three-iterations", "base-start"])
    assert presets.compose("tiny", ["three-iterations", "base-start"]) == first


def test_an_unknown_ablation_is_told_with_the_nearest() -> None:
    with pytest.raises(
        InputError,
        match=r"^ablation 'tie-lose' does not exist; expected one of .*"
        r"warm-start; did you mean 'ties-lose'$",
    ):
        presets.compose("tiny", ["tie-lose"])


def test_list_tells_of_every_preset_and_ablation_what_it_is_for() -> None:
    result = CliRunner().invoke(main, ["preset", "--list"], env={"COLUMNS": "80"})
    assert result.exit_code == 0
    lines = result.output.splitlines()
    assert max(map(len, lines)) <= 80
    listed = {
        line.split()[0]: " ".join(line.split()[1:])
        for line in lines
        if line[:2] == "  " and line[2:3] != " "
    }
    assert sorted(listed) == sorted([*NAMES, *ABLATIONS])
    assert all(listed.values())
    assert listed["accumulate"] == "The mix also holds the previous iteration's pairs"


def test_help_of_preset_names_every_ablation() -> None:
    said = " ".join(CliRunner().invoke(main, ["preset", "-h"]).output.split())
    assert said.endswith(f"Ablations: {', '.join(ABLATIONS)}.")


def test_names_of_ablations_complete_in_any_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project.ROOT / "docs")
    completion = ShellComplete(main, {}, "mutual-taught", "_MUTUAL_TAUGHT_COMPLETE")
    for typed in (["preset", "tiny", "--with"], ["grid", "--only"]):
        found = completion.get_completions(typed, "no-")
        assert [item.value for item in found] == ["no-filter", "no-selection"]
