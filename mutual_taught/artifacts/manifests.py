"""Manifests: which files a model's folder holds, their digests, and what they were made from."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from mutual_taught.artifacts.files import CACHED, Json, digest, read_json, sha256, write_json
from mutual_taught.errors import InputError, MissingFileError
from mutual_taught.terminal.signs import visible

MANIFEST = "manifest.json"
STEP, STEPS = "step-{:06d}", "steps.json"
SHA256 = re.compile("[0-9a-f]{64}").fullmatch
LONGEST = 255  # bytes of a name


def hashes(folder: Path) -> dict[str, str]:
    """Hash every file of a folder, by its path in it."""
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): sha256(path) for path in paths}


class Manifest(NamedTuple):
    """What a model folder says of itself: `files` maps names to sha256."""

    kind: str
    base: str
    parent: str | None
    made_by: Json
    files: Mapping[str, str]

    @property
    def digest(self) -> str:
        """Identify the model only by its files' contents."""
        return digest(dict(self.files))


def write_manifest(
    folder: Path, kind: str, base: str, parent: str | None, made_by: Json
) -> Manifest:
    """Hash a model folder's files and write its manifest last, which marks it complete."""
    files = {name: value for name, value in hashes(folder).items() if Path(name).name != MANIFEST}
    manifest = Manifest(kind, base, parent, made_by, files)
    write_json(folder / MANIFEST, manifest._asdict())
    return manifest


def read_manifest(folder: Path) -> Manifest:
    """Read a model folder's manifest.

    Raises:
        MissingFileError: there is no such folder, or it holds no manifest.
        InputError: it is no manifest, or names a file that is not within the folder.
    """
    if not folder.is_dir():
        raise MissingFileError(f"{folder} does not exist; run dvc repro or dvc pull {folder}")
    values = read_json(folder / MANIFEST, object)
    try:
        manifest = Manifest(**values)
        parts = (manifest.kind, manifest.base, manifest.parent or "")
        if not all(isinstance(part, str) for part in parts):
            raise TypeError
        if not isinstance(manifest.made_by, dict) or not isinstance(manifest.files, dict):
            raise TypeError
    except TypeError:
        raise InputError(
            f"{folder / MANIFEST}: holds {str(values)[:60]}; expected {', '.join(Manifest._fields)}"
        ) from None
    for name, hexed in manifest.files.items():
        if not (isinstance(hexed, str) and SHA256(hexed)):
            raise InputError(
                f"{folder / MANIFEST}: {name!r} has the sha256 {str(hexed)[:20]!r}; expected 64 "
                f"digits 0-9, a-f; run dvc checkout, or dvc pull {folder}"
            )
        check_within(folder, name)
    return manifest


def check_within(folder: Path, name: str) -> None:
    """Check that a file which a manifest names lies in its folder.

    Links are followed within the folder, and to DVC's cache, which is where DVC links files to.

    Raises:
        InputError: the name, or a link on its way, leads elsewhere.
    """
    leads_out = not {"", ".", ".."}.isdisjoint(name.split("/")) or "\\" in name
    if leads_out or visible(name) != name or len(name.encode()) > LONGEST:
        raise InputError(
            f"{folder / MANIFEST}: names the file {name[:80]!r}; expected names within the folder; "
            f"run dvc checkout, or dvc pull {folder}"
        )
    path = folder / name
    home, parent, real = (Path(os.path.realpath(place)) for place in (folder, path.parent, path))
    cached = parent.is_relative_to(home) and CACHED(real.as_posix())
    if not real.is_relative_to(home) and not cached:
        raise InputError(
            f"{path}: a link to {real}; expected a file of the folder, or DVC's link into its "
            f"cache; remove it, and run dvc checkout, or dvc pull {folder}"
        )


def step_of(folder: Path) -> int:
    """Read a candidate's step from the name of its folder."""
    return int(folder.name.removeprefix("step-"))


def read_steps(checkpoints: Path) -> list[int]:
    """Read which steps a folder of candidates holds: the numbers in its steps.json.

    Raises:
        MissingFileError: there is no such file.
        InputError: it holds something else than whole numbers from 0, each once.
    """
    path = checkpoints / STEPS
    steps = read_json(path).get("steps")
    listed = isinstance(steps, list) and all(type(step) is int and step >= 0 for step in steps)
    if not listed or len(set(steps)) < len(steps):
        raise InputError(
            f"{path}: steps is {str(steps)[:60]}; expected a list of whole numbers from 0, each "
            "once; run dvc repro"
        )
    return list(steps)


def require_whole(folder: Path) -> Manifest:
    """Read a model's manifest and hash its files again.

    Raises:
        InputError: a file is not what the manifest says.
    """
    manifest = read_manifest(folder)
    for name, expected in manifest.files.items():
        path = folder / name
        found = sha256(path) if path.is_file() else "missing"
        if found != expected:
            raise InputError(
                f"{path}: sha256 is {found[:12]}; expected {expected[:12]} by {MANIFEST}; "
                f"run dvc checkout, or dvc pull {folder}"
            )
    return manifest
