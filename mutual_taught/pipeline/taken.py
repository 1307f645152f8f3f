"""Parts of stages whose results DVC has taken: nobody goes on with them, so they go.

A stage has ended before DVC hashes what it made, moves it into the cache and writes dvc.lock. If
DVC is killed in between, it removes the results and runs the stage again, which then needs its
parts. So a stage that has ended only notes what it made, in `.work/made/`. The next stage, or the
end of the run, compares the note with dvc.lock, and removes the parts if it says the same.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from mutual_taught.artifacts.files import digest, read_json, write_json
from mutual_taught.artifacts.manifests import MANIFEST
from mutual_taught.errors import InputError, MutualTaughtError, first_line
from mutual_taught.pipeline import work

LOCK, DVC = Path("dvc.lock"), Path(".dvc")
OUT = re.compile(r"^    - path: (.*)\n(?:      .*\n)*?      md5: (\S+)", re.MULTILINE)
UNREADABLE = (MutualTaughtError, OSError, KeyError, TypeError, AttributeError, ValueError)


def notes() -> Path:
    """Locate the notes of stages that have ended."""
    return work.root() / "made"


@contextmanager
def noted(stage: str, outs: Sequence[str]) -> Iterator[None]:
    """Remove the parts that earlier stages need no more; note what this one makes, if it ends well.

    Nothing here may stop a stage: what cannot be read or written is left as it is.

    Args:
        stage: as DVC names it.
        outs: the paths that it writes.
    """
    sweep()
    try:
        yield
    except SystemExit as end:  # as click's commands end
        if end.code:
            raise
    with suppress(*UNREADABLE):
        note(stage, outs)


def note(stage: str, outs: Sequence[str]) -> None:
    """Note what a stage made, and the parts of this process that it was made of."""
    root = work.root()
    places = [place.relative_to(root).as_posix() for place in work.entered() if place.is_dir()]
    said = {"stage": stage, "outs": {out: _made(Path(out)) for out in outs}, "places": places}
    if places:
        write_json(notes() / f"{stage}-{digest(places)[:8]}.json", said)


def sweep() -> None:
    """Remove the parts of all stages that have ended, as far as dvc.lock has their results."""
    for path in sorted(notes().glob("*.json")):
        with suppress(*UNREADABLE):
            said = read_json(path)
            places = [work.root() / name for name in said["places"]]
            if _is_taken(said["stage"], said["outs"]):
                for place in places:
                    work.remove(place)
            if not any(place.exists() for place in places):
                path.unlink()


def _made(out: Path) -> dict[str, str]:
    """Hash what says what an output is: a file, the manifests of models, or a folder's files.

    Returns:
        MD5, DVC's own, by the path within the output; "" for the output itself.
    """
    if out.is_file():
        return {"": _md5(out)}
    listed = sorted(out.rglob(MANIFEST)) or sorted(
        path for path in out.rglob("*") if path.is_file()
    )
    return {path.relative_to(out).as_posix(): _md5(path) for path in listed}


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


def _is_taken(stage: str, outs: Mapping[str, Mapping[str, str]]) -> bool:
    """Tell whether dvc.lock names these very outputs of a stage."""
    text = LOCK.read_text(encoding="utf-8")  # as YAML it would take a second to read
    body = re.search(rf"^  {re.escape(stage)}:\n((?:    .*\n)*)", text, re.MULTILINE)
    if body is None:
        return False
    locked = dict(OUT.findall(body.group(1).partition("    outs:\n")[2]))
    return all(made.items() <= _locked(locked.get(out, "")).items() for out, made in outs.items())


def _locked(md5: str) -> dict[str, str]:
    """Give what DVC says of an output, as `_made` does; nothing where its list is not here."""
    if not md5.endswith(".dir"):
        return {"": md5}
    path = cache() / md5[:2] / md5[2:]
    listed: list[Mapping[str, Any]] = read_json(path, list) if path.exists() else []
    return {entry["relpath"]: entry["md5"] for entry in listed}


def cache() -> Path:
    """Locate the objects of DVC's cache, which its settings may put outside the project.

    Raises:
        InputError: the settings are not as DVC writes them.
    """
    from dvc.config import Config, ConfigError

    try:
        place = Config(str(DVC))["cache"].get("dir")
    except ConfigError as error:
        raise InputError(f"{DVC / 'config'}: {first_line(error)}; expected DVC's own") from None
    return Path(place or DVC / "cache") / "files" / "md5"
