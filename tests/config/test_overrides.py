"""Values of -S: read by DVC's own code, and refused before anything is written."""

from pathlib import Path
from typing import Any

import pytest

from mutual_taught.config import overrides, params, presets
from mutual_taught.errors import InputError
from tests import project

THIRD = '+iterations.3={prev: "2", sample: {}, dpo: {}, train_rm: {}}'


@pytest.fixture
def tiny(here: Path) -> Path:
    """A folder with the tiny preset's params.yaml and nothing else."""
    path = here / "params.yaml"
    path.write_bytes((project.ROOT / "presets" / "tiny.yaml").read_bytes())
    return path


def at(values: dict[str, Any], name: str) -> object:
    found: Any = values
    for part in name.split("."):
        found = found[part]
    return found


@pytest.mark.parametrize(
    ("option", "name", "value"),
    [
        ("dpo.learning_rate=5e-7", "dpo.learning_rate", 5e-7),
        ("train_rm.fixed=true", "train_rm.fixed", True),
        ("dpo.keep_checkpoints=null", "dpo.keep_checkpoints", None),
        ("train_rm.start=previous", "train_rm.start", "previous"),
        ("+iterations.2.dpo.beta=0.2", "iterations.2.dpo", {"beta": 0.2}),
        ("params.yaml:seed=7", "seed", 7),
        ("training.lora={rank: 4, alpha: 8, targets: all-linear}", "training.lora.rank", 4),
        (THIRD, "iterations.3.prev", "2"),
        (
            "~iterations.2",
            "iterations",
            {"1": {"prev": "0", "sample": {}, "dpo": {}, "train_rm": {}}},
        ),
    ],
)
def test_a_value_of_every_kind_is_read_as_dvc_reads_it(
    tiny: Path, option: str, name: str, value: object
) -> None:
    before = tiny.read_bytes()
    (values,) = overrides.composed([option])
    assert at(values, name) == value
    assert tiny.read_bytes() == before


def test_values_apply_together(tiny: Path) -> None:
    (values,) = overrides.composed(["seed=4", "dpo.beta=0.2"])
    assert (values["seed"], values["dpo"]["beta"]) == (4, 0.2)


def test_a_sweep_makes_every_combination(tiny: Path) -> None:
    made = overrides.composed(["dpo.beta=0.1,0.2", "seed=range(1,4)"])
    wanted = [(beta, seed) for beta in (0.1, 0.2) for seed in (1, 2, 3)]
    assert [(values["dpo"]["beta"], values["seed"]) for values in made] == wanted


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("dpo.beta=x", "params.yaml: dpo.beta is 'x'; expected a valid number"),
        ("dpo.bta=1", "-S dpo.bta=1: dpo has no 'bta'; expected one of start, "),
        ("iterations.2.dpo.beta=1", "; to add a key, write -S '+iterations.2.dpo.beta=1'"),
        ("dpo.beta", "-S dpo.beta: Error parsing override 'dpo.beta'; expected KEY=VALUE"),
        ("data.path=${nope}", "Interpolation key 'nope' not found; expected KEY=VALUE"),
        ("+dpo.beta=1", "An item is already at 'dpo.beta'"),
        ("~iterations.1", 'expected iterations "1", "2", ...'),
        ("seed=1,-1", "params.yaml: seed is -1; expected greater than or equal to 0"),
        ("x.yaml:seed=1", "-S x.yaml:seed=1: expected a key of params.yaml"),
        ("=1", "params.yaml has no ''"),
        ("", "expected KEY=VALUE"),
    ],
)
def test_a_value_that_a_stage_would_refuse_is_refused_in_one_line(
    tiny: Path, option: str, said: str
) -> None:
    before = tiny.read_bytes()
    with pytest.raises(InputError) as error:
        overrides.composed([option])
    assert said in str(error.value)
    assert "\n" not in str(error.value)
    assert tiny.read_bytes() == before


def test_the_nearest_key_is_named(tiny: Path) -> None:
    with pytest.raises(InputError, match="did you mean 'beta'"):
        overrides.composed(["dpo.bta=1"])


def test_a_value_that_is_in_the_file_already_comes_with_the_way_out(tiny: Path) -> None:
    project.set_param(tiny, "dpo.beta", -1)
    with pytest.raises(InputError, match=r"dpo\.beta is -1; .*git checkout params\.yaml"):
        overrides.composed(["seed=2"])
    (values,) = overrides.composed(["dpo.beta=0.1"])
    assert values["dpo"]["beta"] == 0.1


def test_overrides_between_two_files_name_what_is_gone_new_and_changed() -> None:
    before = {"a": {"x": 1, "y": None}, "t": {"1": {}, "2": {"p": "1"}}, "b": True}
    after = {"a": {"x": 1.0, "y": ["it's"]}, "t": {"1": {"q": 5e-7}}, "b": True, "c": "null"}
    assert overrides.between(before, after) == [
        "a.x=1.0",
        "a.y=['it\\'s']",
        "+t.1.q=5e-07",
        "~t.2",
        "+c='null'",
    ]


@pytest.mark.parametrize("name", ["fixed-reward-model", "offline-dpo", "three-iterations"])
def test_overrides_of_an_ablation_give_what_the_preset_command_gives(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(presets, "FOLDER", project.ROOT / "presets")
    before = params.read(tiny)
    text = presets.compose("tiny", [name])
    other = Path("other.yaml")
    other.write_text(text)
    after = params.read(other)
    assert overrides.checked(overrides.between(before, after)) == after
