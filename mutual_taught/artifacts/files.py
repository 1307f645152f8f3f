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
from typing import Any

from mutual_taught.errors import InputError, MissingFileError

NUMBER = re.compile("0|[1-9][0-9]{0,8}").fullmatch  # of an iteration
CACHED = re.compile("/files/md5/[0-9a-f]{2}/[0-9a-f]{30}$").search  # a file of DVC's cache
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
    """Write a training curve as CSV, one logged step a row; only a header where there is none."""
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


def digest(values: object) -> str:
    """Hash JSON values, keys in order."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


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
        shutil.copytree(source, temporary, copy_function=link, dirs_exist_ok=True)
        temporary.chmod(0o755)
        temporary.rename(target)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def link(source: str, target: str) -> None:
    """Make a file a hard link to another, or a copy where the disk has none; links are followed."""
    real = os.path.realpath(source)
    try:
        os.link(real, target)
    except OSError:
        shutil.copyfile(real, target)
