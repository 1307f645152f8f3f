"""The candidates of the laptop preset: valid, as docs/study.md lists them, alike in all else."""

from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from mutual_taught.config import params
from study import plan as planning
from study.plan import Unit
from study.preferences import TRAIN, longer
from tests import project

LAPTOP = project.ROOT / "presets" / "laptop.yaml"
PLAN = planning.load()
[CHOOSING] = [block for block in PLAN.order if block.rule == "choose"]
[AGAIN] = [block for block in PLAN.order if block.name == "choosing-again"]
CANDIDATES = [*CHOOSING.arms, *AGAIN.arms]
each_candidate = pytest.mark.parametrize("name", CANDIDATES)


def changed(name: str) -> dict[str, Any]:
    """Give a candidate's params, but for its seed and number format, as the preset has them."""
    values, laptop = planning.values(PLAN, Unit(name, 101, "float32")), params.read(LAPTOP)
    values["seed"] = laptop["seed"]
    for block, key in planning.FORMAT_KEYS:
        values[block][key] = laptop[block][key]
    return values


def listed() -> dict[str, list[str]]:
    """List the table's cells by candidate: prompts, rate, share of longer pairs, pair."""
    text = (project.ROOT / "docs" / "study.md").read_text(encoding="utf-8")
    table = text.split("| candidate,")[1].split("\n\n")[0]
    cells = [line.strip("| ").replace("`", "").split(" | ") for line in table.splitlines()[2:]]
    return {name: rest for name, *rest in cells}


def share(name: str) -> float:
    """Give the share of r_0's pairs whose chosen response is the longer one, in percent."""
    settings = PLAN.arms[name].preferences
    path = settings.path if settings and settings.path else "data/seed_preferences.parquet"
    pairs = pq.read_table(project.ROOT / path)
    return 100 * float(longer(pairs.filter(pc.equal(pairs["part"], TRAIN))).mean())


def test_the_rule_names_every_candidate() -> None:
    assert list(listed()) == CANDIDATES
    files = {Path(name) for arm in CANDIDATES for name in PLAN.arms[arm].ablations}
    assert {project.ROOT / path for path in files} == set(
        (project.ROOT / "study" / "candidates").glob("*.yaml")
    )


@each_candidate
def test_candidate_is_what_the_rule_says_and_the_laptop_preset_in_all_else(name: str) -> None:
    values, laptop = changed(name), params.read(LAPTOP)
    prompts, rate, percent, pair = listed()[name]
    splits, dpo, ranked = values["data"]["splits"], values["dpo"], values["rank_pairs"]
    assert prompts == f"{splits['policy']['prompts']}, {splits['reward']['prompts']}"
    assert (dpo["loss_type"], dpo["learning_rate"]) == ("nca_pair", float(rate))
    said = ", length-neutral" * ranked["length_neutral"] + ", ended only" * ranked["ended_only"]
    assert pair == ranked["chosen"] + said
    # By characters; the command that made them counts tokens.
    assert share(name) == pytest.approx(float(percent.removesuffix(" %")), abs=1.25)
    # Two candidates of a policy: at half of the steps, and at the end.
    steps = splits["policy"]["prompts"] // dpo["batch_size"] * dpo["epochs"]
    assert dpo["save_steps"] * 2 == steps
    for split in ("policy", "reward"):
        splits[split]["prompts"] = laptop["data"]["splits"][split]["prompts"]
    for key in ("loss_type", "learning_rate", "save_steps"):
        dpo[key] = laptop["dpo"][key]
    for key in ("chosen", "length_neutral", "ended_only"):
        ranked[key] = laptop["rank_pairs"][key]
    assert values == laptop


def test_laptop_preset_is_one_of_the_candidates() -> None:
    assert params.read(LAPTOP) in [changed(name) for name in CANDIDATES]
