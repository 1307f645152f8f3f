"""A reader's machine: a home, a repository to clone and push to, a folder for the data.

What a reader types is run as it stands. Three things differ, and no document shows them. The
repository's laptop preset is the tiny one, so a run takes minutes. `.venv` is there after a clone,
because a hook of git links this checkout's, so `make setup` has nothing to install. And pip
installs nothing.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests import project
from tests.blocks import Block, Command, commands

ROOT = project.ROOT
ENVIRONMENT = Path(sys.prefix)
HOOK = f"""#!/bin/sh
test -e .venv || ln -s {ENVIRONMENT} .venv
touch -d 2000-01-01 pyproject.toml constraints.txt
mkdir -p .git/info && echo .venv >> .git/info/exclude
"""
LIMIT_SECONDS = 3600  # for the laptop preset, too
SAID = re.compile(r"^@@ (\S+):(\d+)$", re.M)


@dataclass(frozen=True)
class World:
    """A folder with `home`, `origin.git` and, once cloned, `mutual-taught`."""

    folder: Path

    @property
    def clone(self) -> Path:
        """The reader's clone."""
        return self.folder / "mutual-taught"

    @property
    def variables(self) -> dict[str, str]:
        """What the reader's shell has in its environment."""
        kept = {key: os.environ[key] for key in ("LANG", "LC_ALL", "TMPDIR") if key in os.environ}
        return {
            **kept,
            "HOME": str(self.folder / "home"),
            "PATH": f"{ENVIRONMENT / 'bin'}:{os.environ['PATH']}",
            "PYTHONPATH": str(self.clone),
            "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "2"),
            "GIT_CONFIG_NOSYSTEM": "1",
            "DVC_NO_ANALYTICS": "1",
            "HF_HUB_OFFLINE": "1",
            "PIP_DRY_RUN": "1",
        }

    def git(self, *arguments: str, at: Path | None = None) -> None:
        """Run git as the reader."""
        subprocess.run(
            ["git", *arguments],
            cwd=at or self.folder,
            env=self.variables,
            check=True,
            capture_output=True,
        )


def create(folder: Path, preset: str = "tiny") -> World:
    """Make a world whose repository holds this checkout's HEAD, with a preset as laptop's."""
    world = World(folder)
    template = folder / "home" / "template" / "hooks"
    template.mkdir(parents=True)
    (template / "post-checkout").write_text(HOOK)
    (template / "post-checkout").chmod(0o755)
    config = f"[init]\n\ttemplateDir = {folder / 'home' / 'template'}\n\tdefaultBranch = main\n"
    (folder / "home" / ".gitconfig").write_text(config + "[advice]\n\tdetachedHead = false\n")
    world.git("init", "-q", "--bare", "origin.git")
    subprocess.run(
        ["git", "push", "-q", str(folder / "origin.git"), "HEAD:refs/heads/main"],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    if preset != "laptop":
        _stand_in(world, preset)
    world.git("clone", "-q", "origin.git", "mutual-taught")
    return world


def _stand_in(world: World, preset: str) -> None:
    """Commit a preset in the place of the laptop preset."""
    made = world.folder / "made"
    world.git("clone", "-q", "origin.git", "made")
    for name in ("params.yaml", "presets/laptop.yaml"):
        shutil.copy(made / "presets" / f"{preset}.yaml", made / name)
    identity = ("-c", "user.name=maker", "-c", "user.email=maker@example.invalid")
    world.git(*identity, "commit", "-qam", f"The laptop preset is {preset}", at=made)
    world.git("push", "-q", "origin", "main", at=made)
    shutil.rmtree(made)


def copy(world: World, folder: Path) -> World:
    """Copy a world as it stands, hard links between its files as they are."""
    subprocess.run(["cp", "-a", str(world.folder), str(folder)], check=True)
    copied = World(folder)
    for name in ("home/.gitconfig", "mutual-taught/.git/config"):
        path = folder / name
        path.write_text(path.read_text().replace(str(world.folder), str(folder)))
    return copied


@dataclass(frozen=True)
class Transcript:
    """What a page's commands printed, in order, and how the last one ended."""

    page: str
    text: str
    status: int

    def after(self, typed: str) -> str:
        """Give what the first command that holds a text printed."""
        parts = self.text.split("\n@@ ")
        found = [part for part in parts if typed in part.split("\n@=\n")[0]]
        assert found, f"{self.page} has no command {typed!r}"
        return found[0].partition("\n@=\n")[2]


def follow(world: World, blocks: Sequence[Block], page: str) -> Transcript:
    """Type a page's blocks into one shell, in order, and stop at the first that fails."""
    script = world.folder / f"{page.replace('/', '-')}.sh"
    script.write_text("\n".join(_typed(block) for block in blocks if block.runs))
    done = subprocess.run(
        ["bash", str(script)],
        cwd=world.clone,
        env=world.variables,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        timeout=LIMIT_SECONDS,
        check=False,
    )
    return Transcript(page, done.stdout, done.returncode)


def _typed(block: Block) -> str:
    """Write a block as a script that says each command before it and ends where one fails."""
    if block.language == "python":
        text = f"python - <<'@end-of-python'\n{block.text}@end-of-python"
        return _one(block.page, Command(block.line, text))
    return "\n".join(_one(block.page, command) for command in commands(block))


def _one(page: str, command: Command) -> str:
    shown = f"@@ {page}:{command.line}\n{command.text}\n@="
    return (
        f"cat <<'@end-of-shown'\n\n{shown}\n@end-of-shown\n{command.text}\n"
        f"__status=$?; [ $__status = 0 ] || exit $__status\n"
    )


def failure(done: Transcript) -> str | None:
    """Say which command of a page failed, where it stands, and what it printed."""
    if not done.status:
        return None
    page, line = SAID.findall(done.text)[-1]
    last = done.text.split("\n@@ ")[-1]
    return f"{page}:{line}: exit code {done.status}\n{last[-4000:]}"
