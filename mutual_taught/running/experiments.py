"""What DVC and git know of experiments, and running one."""

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from mutual_taught.errors import InputError, first_line

if TYPE_CHECKING:
    from dvc.repo import Repo

IDENTITY = "git config --global user.name NAME && git config --global user.email MAIL"


@contextmanager
def repository() -> Iterator["Repo"]:
    """Open the project's DVC repository; what DVC or git refuses in it is one line.

    Raises:
        InputError: the folder is no repository, or DVC refuses what is done with it.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import Repo
    from dvc.scm import SCMError
    from scmrepo.exceptions import SCMError as InnerError

    try:
        with Repo() as repo:
            yield repo
    except (DvcException, SCMError, InnerError) as error:
        raise InputError(f"dvc: {first_line(error).partition(': ')[2] or error}") from None


def git(*arguments: str) -> str | None:
    """Run git and give what it printed; None if it refuses."""
    done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
    return done.stdout if done.returncode == 0 else None


def require_commit() -> None:
    """Refuse where there is nothing that an experiment could start from or be saved by.

    Raises:
        InputError: no git repository, no commit, or git does not know who commits.
    """
    if git("rev-parse", "HEAD") is None:
        raise InputError(
            "no commit of git is here; expected one, because experiments are kept in git; "
            'git init, git add -A, git commit -m "start"'
        )
    if git("var", "GIT_COMMITTER_IDENT") is None:
        raise InputError(f"git does not know who you are; expected a name and mail; {IDENTITY}")


def notes(apart: bool) -> list[str]:
    """Say what of the commit an experiment starts from makes it poorer than it could be.

    Args:
        apart: the experiment runs in a folder of its own (--temp, --queue).
    """
    found = []
    if git("cat-file", "-e", "HEAD:./dvc.lock") is None:
        found.append(
            "dvc.lock is in no commit, so this experiment has no baseline to be compared with; "
            'dvc repro, then git add dvc.lock params.yaml && git commit -m "baseline"'
        )
    untracked = (git("ls-files", "--others", "--exclude-standard") or "").splitlines()
    if apart and untracked:
        found.append(
            f"git does not track {', '.join(untracked[:3])}{_more(len(untracked) - 3)}, so the "
            "experiment does not see that; git add what a stage reads"
        )
    return found


def _more(count: int) -> str:
    return f" and {count} more" if count > 0 else ""


def taken() -> dict[str, str]:
    """Tell which experiments of this commit are done, and which run or wait, by name."""
    with repository() as repo:
        queue = repo.experiments.celery_queue
        waiting = [*queue.iter_queued(), *queue.iter_active()]
        head = repo.scm.get_rev()
        found = {entry.name: "queued" for entry in waiting if entry.stash_rev and entry.name}
        listed: Sequence[tuple[str, str]] = repo.experiments.ls().get(head, [])
        return found | {name: "done" for name, _ in listed}
