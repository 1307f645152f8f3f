"""Every shell block of the documents, run as it is typed, in order; `make test-docs`.

Each page begins in a state of its own: in a fresh clone, or in one where README was followed up to
the commit of its first run. README itself is what the three kinds of reader do, one after another:
the newcomer runs and looks, the engineer tries another value, the teammate gets the result.
"""

import os
import shutil
from pathlib import Path

import pytest

from tests import blocks
from tests.once import once
from tests.test_end_to_end import assert_same_run
from tests.whole.docs import world as worlds
from tests.whole.docs.world import Transcript, World

PRESET = os.environ.get("MUTUAL_TAUGHT_DOCS_PRESET", "tiny")
FRESH = ("docs/quick-start.md",)
README = blocks.of(blocks.ROOT / "README.md")
PAGES = [
    path
    for path in blocks.DOCUMENTS
    if path.parent != blocks.ROOT and any(block.runs for block in blocks.of(path))
]
# Two processes share the pages: those with the most to type go first, so that none is left over.
PAGES.sort(key=lambda path: sum(block.runs for block in blocks.of(path)), reverse=True)


@pytest.fixture(scope="session")
def committed(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Where README is once the first run is committed."""

    def make(folder: Path) -> None:
        world = worlds.create(folder, PRESET)
        done = worlds.follow(world, README[: first_commit() + 1], "README.md")
        assert not worlds.failure(done), worlds.failure(done)
        (folder / "transcript").write_text(done.text)

    return World(once(tmp_path_factory, "committed", make))


def first_run(committed: World) -> Transcript:
    """Give what README's blocks print up to the commit of the first run."""
    return Transcript("README.md", (committed.folder / "transcript").read_text(), 0)


def first_commit() -> int:
    return next(i for i, block in enumerate(README) if "git commit" in block.text)


@pytest.fixture(scope="session")
def readme(committed: World, tmp_path_factory: pytest.TempPathFactory) -> Transcript:
    """What README's blocks print, from the first to the last."""
    world = worlds.copy(committed, tmp_path_factory.mktemp("readme") / "world")
    done = worlds.follow(world, README[first_commit() + 1 :], "README.md")
    assert not worlds.failure(done), worlds.failure(done)
    return Transcript("README.md", first_run(committed).text + done.text, 0)


def test_newcomer_runs_the_method_and_looks_at_it(committed: World) -> None:
    done = first_run(committed)
    assert "Final models: run/2/policy, run/2/reward_model" in done.after("make run")
    assert "win rate" in done.after("mutual-taught status")
    assert "# " in done.after("run/2/report/report.md")
    assert "\niteration " in done.after("mutual-taught trace")


@pytest.mark.skipif(PRESET != "tiny", reason="the other run is of the tiny preset")
def test_first_run_has_the_bytes_of_one_process(committed: World, finished: Path) -> None:
    assert_same_run(committed.clone / "run", finished, (0, 1, 2))


def test_engineer_tries_another_value_and_compares(readme: Transcript) -> None:
    ran = readme.after("dvc exp run -n gentle -S dpo.beta=0.05")
    assert "dpo@1" in ran
    assert "Running stage 'sample@1'" not in ran
    assert "0.05" in readme.after("dvc exp show --only-changed")
    compared = readme.after("mutual-taught compare HEAD gentle")
    assert {"dpo.beta", "gentle", "0.05"} <= set(compared.split())


def test_teammate_pulls_the_result_and_runs_nothing(readme: Transcript) -> None:
    assert "files fetched" in readme.after("dvc pull")
    assert "Final models" in readme.text.rpartition("dvc pull")[2]
    assert "Running stage" not in readme.after("dvc repro")


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_page_works_as_typed(path: Path, committed: World, tmp_path: Path) -> None:
    page = path.relative_to(blocks.ROOT).as_posix()
    world = fresh(committed, tmp_path) if page in FRESH else worlds.copy(committed, tmp_path / "w")
    done = worlds.follow(world, blocks.of(path), page)
    assert not worlds.failure(done), worlds.failure(done)


def fresh(committed: World, tmp_path: Path) -> World:
    """Make a fresh clone; what the first run computed is in its cache, to save minutes."""
    world = worlds.create(tmp_path / "w", PRESET)
    shutil.copytree(committed.clone / ".dvc" / "cache", world.clone / ".dvc" / "cache")
    return world
