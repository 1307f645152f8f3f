"""Which objects of DVC's cache something refers to."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

from dvc.repo import Repo
from dvc_data.hashfile.hash_info import HashInfo
from dvc_data.hashfile.tree import Tree

from mutual_taught.errors import InputError

LOCKS = (":(glob)**/dvc.lock", ":(glob)**/*.dvc")


def unused(repo: Repo) -> list[Path]:
    """List the objects of the cache that nothing refers to, folders' lists first.

    What refers: the workspace, every branch, tag and experiment, every commit in their past that
    changed a dvc.lock, and every stash; experiments that wait or have failed are such. An object
    that one of them names is never listed, whether it is only here or not. Nothing is fetched.

    Args:
        repo: locked by the caller, so that no run adds objects meanwhile.

    Raises:
        InputError: the cache is not this project's own, or what a folder holds cannot be told.
    """
    odb = repo.cache.local
    home = Path(odb.path)
    if not home.is_relative_to(Path(repo.root_dir, ".dvc")):
        raise InputError(
            f"{home}: is outside the project, so others may use it; expected .dvc/cache; run "
            "dvc gc with --projects yourself"
        )
    used = set(_used(repo))
    found = [oid for oid in odb.all() if oid not in used]
    found.sort(key=lambda oid: (not oid.endswith(".dir"), oid))
    return [Path(os.path.relpath(odb.oid_to_path(oid))) for oid in found]


def _used(repo: Repo) -> Iterator[str]:
    """Name the objects that are referred to; those in folders, too."""
    known: set[str] = set()
    for revision in repo.brancher(
        revs=_commits(Path(repo.root_dir)), all_branches=True, all_tags=True, all_experiments=True
    ):
        for out in repo.index.outs:
            named: HashInfo | None = out.hash_info
            if not named or not named.value or named.value in known:
                continue
            known.add(named.value)
            yield named.value
            if named.isdir:
                yield from _within(repo, named, out.def_path, revision)


def _within(repo: Repo, named: HashInfo, path: str, revision: str) -> Iterator[str]:
    if not Path(repo.cache.local.oid_to_path(named.value)).exists():
        raise InputError(
            f"{path} of {revision[:12]}: what it holds is not known here, so it cannot be told "
            "from what nothing uses; expected its list in the cache; run dvc fetch --all-commits"
        )
    for _, _, found in Tree.load(repo.cache.local, named):
        yield str(found.value)


def _commits(root: Path) -> list[str]:
    """List the commits that changed what is tracked, of every branch, tag, experiment, stash.

    A ref of stashes, git's or DVC's, is the newest of them; the others are only in its reflog.
    """
    found = _git(root, "log", "--all", "--full-history", "--format=%H", "--", *LOCKS)
    if stashes := _git(root, "for-each-ref", "--format=%(refname)", "refs/stash", "refs/exps"):
        found += _git(root, "log", "--walk-reflogs", "--format=%H %P", *stashes, "--")
    return list(dict.fromkeys(found))


def _git(root: Path, *arguments: str) -> list[str]:
    command = ["git", *arguments]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    if done.returncode:
        complaint = done.stderr.strip().splitlines()[0][:160]
        raise InputError(f"git {arguments[0]}: {complaint}; expected a git repository")
    return done.stdout.split()
