"""What a check of a model says, and how one that fails stops the work."""

from collections.abc import Iterable
from typing import NamedTuple

from mutual_taught.errors import InputError


class Check(NamedTuple):
    """What was looked at, what was found, and what to do if it is wrong (empty if it is right)."""

    name: str
    found: str
    fault: str


def require(checks: Iterable[Check], what: object) -> None:
    """Stop at the first check that fails.

    Raises:
        InputError: naming the model, the check, what is and what to do.
    """
    for check in checks:
        if check.fault:
            raise InputError(f"{what}: {check.name}: {check.found}; {check.fault}")
