"""A disk that is full or read-only while shards are written: one line, nothing finished is lost."""

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests import project

# A file system of its own, seen by these processes alone: a work folder with room for a few shards.
SMALL = "mkdir -p .work && mount -t tmpfs -o size={size} none .work"
STAGE = """
import sys
from pathlib import Path
import click
from mutual_taught.scoring.shards import score_all
from mutual_taught.scoring.start import start_scorer
from stages._click import Stage
from tests.scoring.test_shards import SCORE, TOKENS, questions

@click.command(cls=Stage)
def main():
    with start_scorer(SCORE, "local", TOKENS) as scorer:
        score_all(scorer, Path(sys.argv[1]), questions(60), TOKENS, "score@1")

main(args=[])
"""


def run(here: Path, *steps: str) -> tuple[int, list[str], dict[str, bytes]]:
    """Run shell steps where a file system can be mounted.

    Returns:
        The last one's exit code, the errors that stages said, and the shards in .work after it.
    """
    script = " && ".join(steps[:-1]) + f"; {steps[-1]}; code=$?; cp -r .work kept; exit $code"
    done = subprocess.run(
        ["unshare", "--map-root-user", "--mount", "sh", "-c", script],
        cwd=here,
        env=project.ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    said = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    assert "Traceback" not in done.stderr, done.stderr
    kept = {path.parent.name: path.read_bytes() for path in (here / "kept").rglob("*.parquet")}
    return done.returncode, said, kept


@pytest.fixture
def stage(reward_folder: Path) -> str:
    return shlex.join([sys.executable, "-c", STAGE, str(reward_folder)])


def can_mount() -> bool:
    """Some machines forbid it; there nothing is full or read-only on demand."""
    trial = ["unshare", "--map-root-user", "--mount", "mount", "-t", "tmpfs", "none", "/mnt"]
    return subprocess.run(trial, capture_output=True, check=False).returncode == 0


pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not can_mount(), reason="no file systems can be mounted here"),
]


def test_full_disk_is_one_line_and_what_is_finished_goes_on(here: Path, stage: str) -> None:
    code, said, kept = run(here, SMALL.format(size="64k"), stage)
    assert code == 1
    [line] = said
    assert line.startswith("Error: .work/score@1/")
    assert line.endswith(
        "rewards.parquet: No space left on device; free some space, then dvc repro goes on with "
        "what is finished"
    )
    assert 2 < len(kept) < 20
    grown = "mount -o remount,size=10m .work"
    code, _, whole = run(here, SMALL.format(size="64k"), f"({stage} || true)", grown, stage)
    assert code == 0
    assert len(whole) == 20
    assert kept.items() <= whole.items()


def test_read_only_work_folder_is_one_line(here: Path, stage: str) -> None:
    mounted = SMALL.format(size="1m")
    code, said, _ = run(here, mounted, "mount -o remount,ro .work", stage)
    assert code == 1
    [line] = said
    assert line.startswith("Error: .work/score@1: Read-only file system; make it writable, then")
