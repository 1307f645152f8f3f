"""A stage's key is of its command, the params it reads, its deps, the machine."""

import os
from pathlib import Path

import pytest

from mutual_taught.config import blocks, params
from mutual_taught.planning.graph import Node
from study import plan as planning
from study import stages, unit
from study.cache import Cache
from study.plan import Unit

NODE = Node(
    "dpo@1", ("run/1/pairs", "data"), ("run/1/model",), "python -m stages.dpo", ("dpo.beta",)
)
PLACE = {"machine": "one"}


def test_key_follows_exactly_what_decides(here: Path) -> None:
    (here / "data").mkdir()
    (here / "data" / "file").write_text("text")

    def key(beta: float, other: int, made: str, place: str = "one") -> str:
        raw = {"dpo": {"beta": beta, "epochs": other}}
        return stages.key(NODE, raw, {"run/1/pairs": made}, {"machine": place})

    first = key(0.1, 1, "digest")
    assert key(0.1, 2, "digest") == first  # dpo.epochs is no param of this stage
    changed = {key(0.2, 1, "digest"), key(0.1, 1, "another"), key(0.1, 1, "digest", "two")}
    (here / "data" / "file").write_text("other")
    assert len(changed | {key(0.1, 1, "digest"), first}) == 5


def test_a_key_that_is_not_there_is_none() -> None:
    raw = {"iterations": {"1": {"dpo": {"beta": 1}}}}
    assert stages.value(raw, "iterations.1.dpo") == {"beta": 1}
    assert stages.value(raw, "iterations.2.dpo") is None


ARMS = """
testbeds: {laptop: {preset: tiny}}
arms:
  plain: {is: the testbed}
  second: {is: r_2 without ranked pairs, later: {build_pairs: {ranked: false}}}
order:
  - {name: all, arms: [plain, second], seeds: [1], formats: [float32]}
"""


def test_what_changes_later_is_read_from_iteration_2_on(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stages write what they read: their key, and whether params.yaml has ranked pairs."""
    read: dict[str, bool] = {}

    def compute(node: Node) -> float:
        read[node.name] = params.load(blocks.BuildPairs).ranked
        for out in node.outs:
            Path(out).parent.mkdir(parents=True, exist_ok=True)
            wrong = node.name.startswith("build_pairs") and not read[node.name]
            Path(out).write_text(f"{out}{' without ranked pairs' if wrong else ''}")
        return 0.0

    def computed(arm: str) -> list[str]:
        read.clear()
        folder = unit.prepare(plan, Unit(arm, 1, "float32"), here / arm)
        os.chdir(folder)
        list(stages.run(Cache(here / "cache"), "a machine"))
        return list(read)

    (here / "arms.yaml").write_text(ARMS)
    plan = planning.load(here / "arms.yaml")
    monkeypatch.setattr(stages, "_compute", compute)
    assert "build_pairs@2" in computed("plain")
    assert all(read.values())
    assert computed("second") == ["build_pairs@2", "train_rm@2"]  # whose r_2 is made alike here
    assert not any(read.values())
    assert computed("second") == []
