"""What `make setup` says, and how it has pip say it."""

import os
import pty
import shutil
import subprocess
from pathlib import Path

from tests.project import ROOT

# In place of the environment's Python: says what it is asked to do, installs nothing.
PYTHON = """#!/bin/sh
echo "python $*"
"""


def make(folder: Path, *words: str, stderr: int = subprocess.STDOUT) -> list[str]:
    # as from a terminal, though the tests may run under make
    environment = {name: value for name, value in os.environ.items() if "MAKE" not in name}
    done = subprocess.run(
        ["make", *words],
        cwd=folder,
        env=environment,
        check=True,
        text=True,
        stdout=subprocess.PIPE,
        stderr=stderr,
    )
    return done.stdout.splitlines()


def copy(folder: Path) -> Path:
    """Put what `make setup` reads into a folder, with an environment that installs nothing."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, folder)
    python = folder / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(PYTHON)
    python.chmod(0o755)
    return folder


def test_setup_says_what_it_installs_and_what_that_costs_before_it_begins(tmp_path: Path) -> None:
    what, cost, *work = make(copy(tmp_path), "setup")
    assert what.startswith("Setting up .venv, once: PyTorch, transformers, DVC ")
    assert "minutes" in what
    assert " GB " in cost
    assert [line.split(" install ")[0] for line in work] == ["python -m pip"] * 2


def test_pip_is_quiet_where_nobody_watches_and_shows_its_bars_where_somebody_does(
    tmp_path: Path,
) -> None:
    folder = copy(tmp_path)
    quiet = make(folder, "setup")
    (folder / ".venv" / "ready").unlink()
    ours, theirs = pty.openpty()
    watched = make(folder, "setup", stderr=theirs)
    os.close(theirs)
    os.close(ours)
    assert [" -q " in line for line in quiet if " -m pip " in line] == [True] * 2
    assert [" -q " in line for line in watched if " -m pip " in line] == [False] * 2
