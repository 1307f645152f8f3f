"""The candidates of the laptop preset: valid, as docs/study.md lists them, alike in all else."""

import copy
from pathlib import Path
from typing import Any

import pytest

from mutual_taught.config import params, presets
from tests import project

LAPTOP = project.ROOT / "presets" / "laptop.yaml"
FOLDER = project.ROOT / "study" / "candidates"
CANDIDATES = sorted(FOLDER.glob("*.yaml"))
each_candidate = pytest.mark.parametrize("path", CANDIDATES, ids=lambda path: path.stem)


def changed(path: Path) -> dict[str, Any]:
    values = copy.deepcopy(params.read(LAPTOP))
    presets.merge(values, params.read(path))
    return values


def listed() -> dict[str, list[str]]:
    """List the table's cells by candidate: prompts, learning rate."""
    text = (project.ROOT / "docs" / "study.md").read_text(encoding="utf-8")
    table = text.split("| candidate,")[1].split("\n\n")[0]
    cells = [line.strip("| ").replace("`", "").split(" | ") for line in table.splitlines()[2:]]
    return {name: rest for name, *rest in cells}


def test_the_rule_names_every_candidate() -> None:
    assert set(listed()) == {path.stem for path in CANDIDATES}
    assert len(CANDIDATES) == 4


@each_candidate
def test_candidate_is_what_the_rule_says_and_the_laptop_preset_in_all_else(path: Path) -> None:
    values, laptop = changed(path), params.read(LAPTOP)
    params.validate(values, path)
    prompts, rate = listed()[path.stem]
    splits, dpo = values["data"]["splits"], values["dpo"]
    assert prompts == f"{splits['policy']['prompts']}, {splits['reward']['prompts']}"
    assert (dpo["loss_type"], dpo["learning_rate"]) == ("nca_pair", float(rate))
    # Two candidates of a policy: at half of the steps, and at the end.
    steps = splits["policy"]["prompts"] // dpo["batch_size"] * dpo["epochs"]
    assert dpo["save_steps"] * 2 == steps
    for split in ("policy", "reward"):
        splits[split]["prompts"] = laptop["data"]["splits"][split]["prompts"]
    for key in ("loss_type", "learning_rate", "save_steps"):
        dpo[key] = laptop["dpo"][key]
    assert values == laptop


def test_laptop_preset_is_one_of_the_candidates() -> None:
    assert params.read(LAPTOP) in [changed(path) for path in CANDIDATES]
