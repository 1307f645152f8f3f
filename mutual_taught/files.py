"""Whole-or-nothing writes, digests, and model manifests."""

import csv
import hashlib
import io
import json
import math
import os
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mutual_taught.errors import InputError, MissingFileError
from mutual_taught.signs import visible

MANIFEST = "manifest.json"
STEP, STEPS = "step-{:06d}", "steps.json"
NUMBER = re.compile("0|[1-9][0-9]{0,8}").fullmatch  # of an iteration
SHA256 = re.compile("[0-9a-f]{64}").fullmatch
CACHED = re.compile("/files/md5/[0-9a-f]{2}/[0-9a-f]{30}$").search  # a file of DVC's cache
LONGEST = 255  # bytes of a name
Json = Mapping[str, Any]


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file whole or not at all, as a new file (an old one may be a link into a cache)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except OSError as error:  # a full disk does not say which file it refused
        raise OSError(error.errno, error.strerror, str(path)) from None
    finally:
        Path(temporary).unlink(missing_ok=True)


def write_json(path: Path, values: Json | Sequence[Json]) -> None:
    """Write JSON with sorted keys; NaN is refused."""
    text = json.dumps(values, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    write_bytes(path, (text + "\n").encode())


def write_metrics(path: Path, metrics: Mapping[str, float | None]) -> None:
    """Write the numbers that exist: DVC's metrics know neither NaN nor null."""
    numbers = {k: v for k, v in metrics.items() if v is not None and math.isfinite(v)}
    write_json(path, numbers)


def write_curve(path: Path, columns: Sequence[str], rows: Sequence[Json]) -> None:
    """Write a training curve as CSV, one logged step a row; a header alone where there is none."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_bytes(path, text.getvalue().encode())


def read_json(path: Path, kind: type = dict) -> Any:
    """Read JSON whose outermost value is of a kind; a missing or broken file is one line."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(values, kind):
            raise ValueError(f"a {type(values).__name__}, not a {kind.__name__}")
        return values
    except FileNotFoundError:
        raise MissingFileError(f"{path} does not exist; run dvc repro or dvc pull {path}") from None
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{path}: not valid JSON ({error}); expected a file of this pipeline"
        ) from None


def sha256(path: Path) -> str:
    """Hash a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hashes(folder: Path) -> dict[str, str]:
    """Hash every file of a folder, by its path in it."""
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): sha256(path) for path in paths}


def digest(values: object) -> str:
    """Hash JSON values, keys in order."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


class Manifest(NamedTuple):
    """What a model folder says of itself: `files` maps names to sha256."""

    kind: str
    base: str
    parent: str | None
    made_by: Json
    files: Mapping[str, str]

    @property
    def digest(self) -> str:
        """Identify the model by its files' contents alone."""
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
    for name, said in manifest.files.items():
        if not (isinstance(said, str) and SHA256(said)):
            raise InputError(
                f"{folder / MANIFEST}: {name!r} has the sha256 {str(said)[:20]!r}; expected 64 "
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


def iterations(run: Path) -> list[Path]:
    """List the folders of iterations that have begun, in order.

    Raises:
        MissingFileError: there is none.
    """
    found = [path for path in run.glob("*") if NUMBER(path.name) and path.is_dir()]
    if not found:
        raise MissingFileError(f"{run}: holds no iteration; run dvc repro first")
    return sorted(found, key=lambda path: int(path.name))


def link_tree(source: Path, target: Path) -> None:
    """Make target a copy of source out of hard links (copies where the disk has none)."""
    if target.exists():
        shutil.rmtree(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
    try:
        shutil.copytree(source, temporary, copy_function=_link, dirs_exist_ok=True)
        temporary.chmod(0o755)
        temporary.rename(target)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _link(source: str, target: str) -> None:
    real = os.path.realpath(source)
    try:
        os.link(real, target)
    except OSError:
        shutil.copyfile(real, target)
