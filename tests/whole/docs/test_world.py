"""The harness itself: what a reader types is run, and what fails is told with its line."""

from pathlib import Path

import pytest

from tests.blocks import Block, parse
from tests.whole.docs import world as worlds
from tests.whole.docs.world import World

PAGE = """# Title

## One

```sh
greeting="good
morning"
cd docs
```

<!-- gpu -->
```sh
exit 9
```

```sh
pwd
echo "$greeting" \\
    again
false && true
echo not reached
```
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return worlds.create(tmp_path_factory.mktemp("harness") / "world")


def blocks() -> list[Block]:
    return list(parse("docs/page.md", PAGE))


def test_command_that_fails_is_told_with_file_and_line(world: World) -> None:
    # "false && true" is the 20th line of the page
    said = worlds.failure(worlds.follow(world, blocks(), "docs/page.md"))
    assert said
    assert said.startswith("docs/page.md:20: exit code 1\n")


def test_blocks_of_a_page_share_a_shell_and_marked_ones_are_left_out(world: World) -> None:
    done = worlds.follow(world, blocks(), "docs/page.md")
    assert done.after("pwd").strip().endswith("mutual-taught/docs")
    assert done.after('echo "$greeting"').split() == ["good", "morning", "again"]
    assert "not reached" not in done.after("false")


def test_block_of_python_with_the_mark_is_run(world: World) -> None:
    page = "<!-- run -->\n```python\nprint(6 * 7)\n```\n\n```python\n1 / 0\n```\n"
    done = worlds.follow(world, list(parse("docs/page.md", page)), "docs/page.md")
    assert not worlds.failure(done)
    assert done.text.endswith("\n@=\n42\n")


def test_clone_has_its_environment_and_the_preset_that_stands_in(world: World) -> None:
    page = (
        "```sh\nmake setup\ncmp params.yaml presets/laptop.yaml\n"
        "cmp params.yaml presets/tiny.yaml\n"
        'test -z "$(git status --porcelain)"\ngit log --format=%s -1 origin/main\n```\n'
    )
    done = worlds.follow(world, list(parse("docs/page.md", page)), "docs/page.md")
    assert not worlds.failure(done), done.text
    assert "The laptop preset is tiny" in done.after("git log")


def test_copy_pushes_to_its_own_repository(world: World, tmp_path: Path) -> None:
    copied = worlds.copy(world, tmp_path / "w")
    commit = "git -c user.name=a -c user.email=b commit -q --allow-empty -m more"
    page = f"```sh\n{commit}\ngit push -q\n```\n"
    assert not worlds.failure(worlds.follow(copied, list(parse("p.md", page)), "p.md"))
    ours = (copied.folder / "origin.git" / "refs/heads/main").read_text()
    assert ours != (world.folder / "origin.git" / "refs/heads/main").read_text()
