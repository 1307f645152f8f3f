"""A stage's key is of its command, the params it reads, its deps, the machine."""

from pathlib import Path

from mutual_taught.planning.graph import Node
from study import stages

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
