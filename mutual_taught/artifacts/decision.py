"""Whether an iteration goes on, and whose policy it ends with."""

from pathlib import Path
from typing import NamedTuple

from mutual_taught.artifacts.files import NUMBER, read_json, write_json
from mutual_taught.errors import InputError


class Decision(NamedTuple):
    """`active`: the iteration is not stopped. `policy_from`: the last active iteration, or 0."""

    active: bool
    policy_from: str


def read(path: Path) -> Decision:
    """Read a decision.json.

    Raises:
        InputError: it holds something else.
    """
    values = read_json(path)
    try:
        decision = Decision(**values)
        if type(decision.active) is not bool or not NUMBER(decision.policy_from):
            raise TypeError
        return decision
    except TypeError:
        raise InputError(
            f"{path}: holds {str(values)[:60]}; expected active and policy_from, an "
            "iteration; run dvc repro"
        ) from None


def write(folder: Path, decision: Decision) -> None:
    """Write decision.json: these two values and nothing else, because later stages depend on it."""
    write_json(folder / "decision.json", decision._asdict())
