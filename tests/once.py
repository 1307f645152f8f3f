"""What is made once in a session, though pytest-xdist has several processes."""

import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest


def once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """Have a folder made by the first process that needs it; the others wait for that.

    Args:
        factory: pytest's, whose folders of all processes lie in one.
        name: of the folder; a name is made in one way only.
        make: makes the folder; it is called again where it failed.

    Returns:
        The folder; read it, never write into it.
    """
    base = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent
    place, done = base / name, base / f"{name}.done"
    with (base / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            shutil.rmtree(place, ignore_errors=True)
            make(place)
            done.touch()
    return place
