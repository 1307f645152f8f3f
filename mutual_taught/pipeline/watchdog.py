"""Ends this process when the one that started it is gone, even if a shell between them survives."""

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
    # Not an exception, which a library's thread may catch, nor cleaning up, which may wait for a
    # peer that is gone. Parts are written whole or not at all, so nothing is lost.
    os.kill(os.getpid(), signal.SIGKILL)
