"""A process that ends with the one that started it, though others in between live on."""

import contextlib
import os
import signal
import time

import psutil

STARTED_BY = "MUTUAL_TAUGHT_STARTED_BY"
SHELLS = {"sh", "dash", "bash", "zsh", "fish", "ksh"}


def started_by() -> psutil.Process | None:
    """Find what started this process: who said so, else the nearest ancestor that is no shell.

    Returns:
        None if it is gone already.
    """
    with contextlib.suppress(psutil.NoSuchProcess):
        if pid := os.environ.get(STARTED_BY):
            return psutil.Process(int(pid))
        parents = psutil.Process().parents()
        return next((parent for parent in parents if parent.name() not in SHELLS), None)
    return None


def watch(other: psutil.Process | None) -> None:
    """Kill this process once the other is gone."""
    with contextlib.suppress(psutil.NoSuchProcess):
        while other and other.is_running() and other.status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.3)
    os.kill(os.getpid(), signal.SIGKILL)
