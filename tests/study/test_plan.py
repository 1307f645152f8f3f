"""Units in the order that was written, and what an arm changes."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from mutual_taught.errors import InputError
from study import plan as planning
from study.__main__ import main
from study.plan import Unit

TEXT = """
testbeds:
  laptop: {preset: tiny, set: {dpo: {beta: 0.5}}}
  other: {preset: tiny}
arms:
  mutual: {is: both learn}
  fixed: {is: r_0 stays, with: [fixed-reward-model], set: {dpo: {beta: 0.2}}}
order:
  - {name: one, arms: [fixed, mutual], seeds: [1, 2], formats: [float32]}
  - {name: two, arms: [mutual], seeds: [1], formats: [float32, bfloat16]}
"""


def written(folder: Path, text: str = TEXT) -> planning.StudyPlan:
    path = folder / "arms.yaml"
    path.write_text(text)
    return planning.load(path)


def test_units_stand_block_by_block_and_each_once(tmp_path: Path) -> None:
    assert planning.units(written(tmp_path)) == [
        Unit("fixed", 1, "float32"),
        Unit("mutual", 1, "float32"),
        Unit("fixed", 2, "float32"),
        Unit("mutual", 2, "float32"),
        Unit("mutual", 1, "bfloat16"),
    ]


def test_a_closed_block_has_no_unit_that_waits(tmp_path: Path) -> None:
    plan = written(tmp_path, TEXT.replace("{name: one,", "{name: one, closed: true,"))
    assert planning.units(plan, closed=False) == [
        Unit("mutual", 1, "float32"),
        Unit("mutual", 1, "bfloat16"),
    ]
    assert len(planning.units(plan)) == 5
    path, found = str(tmp_path / "arms.yaml"), str(tmp_path / "results")
    listed = CliRunner().invoke(main, ["list", "--arms", path, "--results", found]).output
    assert [line.split(None, 1)[1] for line in listed.splitlines()] == [
        "not needed", "waits", "not needed", "not needed", "waits",
    ]  # fmt: skip
    said = CliRunner().invoke(main, ["run", "--hours", "0", "--arms", path, "--results", found])
    assert said.output.startswith("2 of 2 units to run")


def test_an_arm_changes_the_testbed_its_ablations_first(tmp_path: Path) -> None:
    plan = written(tmp_path)
    found = planning.values(plan, Unit("fixed", 7, "bfloat16"))
    assert found["train_rm"]["fixed"] is True
    assert (found["dpo"]["beta"], found["seed"]) == (0.2, 7)
    formats = [found[block][key] for block, key in planning.FORMAT_KEYS]
    assert formats == ["bfloat16"] * 3
    assert planning.values(plan, Unit("mutual", 1, "float32"))["dpo"]["beta"] == 0.5


def test_an_arm_starts_from_the_testbed_asked_for_or_from_its_own(tmp_path: Path) -> None:
    path = tmp_path / "arms.yaml"
    path.write_text(TEXT.replace("{is: both learn}", "{is: both learn, testbed: laptop}"))
    plan = planning.load(path, "other")
    betas = [planning.values(plan, Unit(arm, 1, "float32"))["dpo"]["beta"] for arm in plan.arms]
    assert betas == [0.5, 0.2]
    assert [plan.testbed(arm) for arm in plan.arms] == ["laptop", "other"]
    with pytest.raises(InputError, match=r"asked for is the testbed 'third'; expected one of"):
        planning.load(path, "third")


def test_patterns_choose_units_in_their_order(tmp_path: Path) -> None:
    listed = planning.units(written(tmp_path))
    assert [unit.name for unit in planning.chosen(listed, ["*-s2-*", "fixed-*"])] == [
        "fixed-s1-float32",
        "fixed-s2-float32",
        "mutual-s2-float32",
    ]
    with pytest.raises(InputError, match="--units 'other' matches no unit; expected a name such"):
        planning.chosen(listed, ["other"])


def test_an_unknown_arm_of_the_order_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"order two names arm 'mutal'; .*did you mean 'mutual'"):
        written(tmp_path, TEXT.replace("two, arms: [mutual]", "two, arms: [mutal]"))


def test_an_unknown_key_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"arms\.fixed\.wth: Extra inputs"):
        written(tmp_path, TEXT.replace("with:", "wth:"))


def test_what_may_not_change_later_is_refused_in_one_line(tmp_path: Path) -> None:
    expected = r"arms\.mutual\.later: has dpo; expected answer, build_pairs, train_rm; it is {"
    with pytest.raises(InputError, match=expected):
        written(tmp_path, TEXT.replace("is: both learn", "is: both learn, later: {dpo: {beta: 1}}"))


def test_values_for_later_without_a_later_iteration_are_refused(tmp_path: Path) -> None:
    one = "is: both learn, set: {iterations: {'2': null}}, later: {train_rm: {fixed: true}}"
    plan = written(tmp_path, TEXT.replace("is: both learn", one))
    with pytest.raises(InputError, match=r"mutual-s1-float32: .* the run one iteration; expected"):
        planning.values(plan, Unit("mutual", 1, "float32"), later=True)


@pytest.mark.parametrize("arm", planning.load().arms)
def test_every_arm_of_the_study_is_valid_and_differs_from_the_others(arm: str) -> None:
    plan = planning.load()
    own = what_it_is(plan, arm)
    (choosing,) = (block.arms for block in plan.order if block.rule == "choose")
    for other in plan.arms:
        if other != arm and (arm in choosing) == (other in choosing):  # one became the preset
            assert own != what_it_is(plan, other), other


def what_it_is(plan: planning.StudyPlan, arm: str) -> tuple[object, ...]:
    """Give the params of an arm, at first and later, and what its r_0 learns from."""
    unit = Unit(arm, 1, "bfloat16")
    changes = plan.arms[arm]
    both = (planning.values(plan, unit), changes.later and planning.values(plan, unit, later=True))
    return *both, changes.preferences


@pytest.mark.parametrize("testbed", planning.load().testbeds)
def test_every_testbed_of_the_study_is_valid(testbed: str) -> None:
    plan = planning.load(testbed=testbed)
    assert plan.testbed("mutual") == testbed
    assert planning.values(plan, Unit("mutual", 1, "bfloat16"))["seed"] == 1


def test_every_arm_of_the_study_has_a_place_in_the_order() -> None:
    plan = planning.load()
    assert {unit.arm for unit in planning.units(plan)} == set(plan.arms)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["--device", "gpu9"],
            "--device 'gpu9' is no GPU of this machine; expected cpu, or some of",
        ),
        (["--arms", "none.yaml"], "none.yaml does not exist; expected a study such as arms.yaml"),
        (["--units", "none-*"], "--units 'none-*' matches no unit"),
    ],
)
def test_what_cannot_be_run_is_one_line(arguments: list[str], said: str) -> None:
    result = CliRunner().invoke(main, ["run", "--hours", "1", *arguments])
    assert result.exit_code == 1
    assert result.output.startswith(f"Error: {said}")
