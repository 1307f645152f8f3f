"""What `.ci/run` asks of make, with a make that only writes down what it is asked."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.project import ROOT

RUN = ROOT / ".ci" / "run"
FIRST = ["check", "environments", "test"]
# Says what it is asked, fails at FAILS, and takes SLEEPS seconds for all tests.
MAKE = """#!/bin/sh
echo "$1" >> asked
test "$1" != test || sleep "${SLEEPS:-0}"
test "$1" != "$FAILS"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "bin").mkdir()
    (tmp_path / ".ci").mkdir()
    shutil.copy(RUN, tmp_path / ".ci")
    (tmp_path / "bin" / "make").write_text(MAKE)
    (tmp_path / "bin" / "make").chmod(0o755)
    return tmp_path


def run(folder: Path, **variables: str) -> tuple[int, list[str], str]:
    """Run it and give its exit code, what it asked make for, and its last line."""
    path = f"{folder / 'bin'}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", str(folder / ".ci" / "run")],
        env={"PATH": path, "FAILS": "", **variables},
        check=False,
        capture_output=True,
        text=True,
    )
    asked = (folder / "asked").read_text().split() if (folder / "asked").exists() else []
    return done.returncode, asked, (done.stdout or done.stderr).strip().rpartition("\n")[2]


def parts() -> list[str]:
    """Give the parts of test-whole, as the Makefile has them."""
    found = re.search(r"^test-whole: (.*?) ##", (ROOT / "Makefile").read_text(), re.M)
    assert found
    return found[1].split()


def test_every_part_of_test_whole_is_run_after_all_tests(folder: Path) -> None:
    code, asked, said = run(folder)
    assert (code, said) == (0, "")
    assert sorted(asked[:3]) == FIRST
    assert sorted(asked[3:]) == sorted(parts())


@pytest.mark.slow
def test_slow_machine_leaves_out_what_would_not_end_and_names_it(folder: Path) -> None:
    # All tests take 5 to 7 s here, those of documents twice as long, others little over half.
    code, asked, said = run(folder, SLEEPS="5", CI_SECONDS="11")
    assert (code, said) == (0, "Not run, for want of time on this machine: test-docs")
    assert sorted(asked[3:]) == sorted(set(parts()) - {"test-docs"})


@pytest.mark.parametrize("seconds", ["abc", "0", "-5", "1 2"])
def test_time_that_is_no_number_is_one_line(folder: Path, seconds: str) -> None:
    code, asked, said = run(folder, CI_SECONDS=seconds)
    assert (code, asked) == (1, [])
    assert said == f"CI_SECONDS is '{seconds}'; expected whole seconds, such as 4500"


@pytest.mark.parametrize("part", ["check", "environments", "test", "test-browser"])
def test_what_fails_fails_it(folder: Path, part: str) -> None:
    code, asked, _ = run(folder, FAILS=part)
    assert code != 0
    assert "test-docs" not in asked
