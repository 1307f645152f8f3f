"""A checkpoint made ready to be loaded: checked, with a manifest, wherever it comes from."""

import shutil
import tempfile
from pathlib import Path

from transformers import AutoTokenizer

from mutual_taught.artifacts.files import digest, link
from mutual_taught.artifacts.manifests import MANIFEST, read_manifest, write_manifest
from mutual_taught.checks import text_checks
from mutual_taught.checks.check import require
from mutual_taught.config.blocks import Tokens
from mutual_taught.config.inputs import Model
from mutual_taught.errors import InputError
from mutual_taught.measuring.checkpoints import Checkpoint
from mutual_taught.measuring.limits import fitted
from mutual_taught.models.folders import INDEX, WHOLE, load, shards
from mutual_taught.pipeline import work
from mutual_taught.prepare.base_models import (
    MODEL_FILES,
    checks,
    copy_files,
    pin_date,
    plain_generation,
)


def ready(checkpoint: Checkpoint, tokens: Tokens) -> Path:
    """Give a folder that stages could load: the run's own, or one made of the user's.

    A model of a run was checked when it was made, and has its manifest. Any other is checked as
    one that a run begins with (`prepare.base_models.checks`), in a folder under .work/models that
    has copies of its small files and hard links to its weights. It is made once for a state of
    the files.

    Args:
        checkpoint: what is to be loaded.
        tokens: its limits, and the date that its template writes.

    Raises:
        InputError: it fails a check, or lacks a file.
    """
    if (checkpoint.folder / MANIFEST).is_file():
        read_manifest(checkpoint.folder)
        return checkpoint.folder
    home = work.root() / "models" / _state(checkpoint, tokens)
    if not (home / MANIFEST).is_file():
        home.parent.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(dir=home.parent))
        try:
            _make(checkpoint, made, tokens)
            shutil.rmtree(home, ignore_errors=True)
            made.rename(home)
        finally:
            shutil.rmtree(made, ignore_errors=True)
    return home


def _state(checkpoint: Checkpoint, tokens: Tokens) -> str:
    """Name the state of a model's files, without reading them."""
    seen = [
        (path.name, path.stat().st_size, path.stat().st_mtime_ns)
        for path in sorted(checkpoint.folder.iterdir())
        if path.is_file()
    ]
    said = [str(checkpoint.folder.resolve()), checkpoint.kind, tokens.date, tokens.max_length]
    return digest([*said, seen, work.versions()])[:16]


def _make(checkpoint: Checkpoint, folder: Path, tokens: Tokens) -> None:
    source = Model(source="path", path=str(checkpoint.folder), revision=None)
    copy_files(source, folder, MODEL_FILES)
    for name in _weights(checkpoint.folder):
        link(str(checkpoint.folder / name), str(folder / name))
    plain_generation(folder)
    pin_date(folder, tokens.date)
    require(checks(folder, checkpoint.kind, fitted(folder, tokens)), checkpoint.folder)
    own, original = (load(AutoTokenizer, place) for place in (folder, checkpoint.folder))
    require([text_checks.same(own, original)], checkpoint.folder)
    write_manifest(folder, checkpoint.kind, checkpoint.called, None, {"date": tokens.date})


def _weights(folder: Path) -> list[str]:
    """Name the files with a model's weights, as transformers finds them, and their index."""
    names = shards(folder)
    if missing := [name for name in names if not (folder / name).is_file()]:
        raise InputError(
            f"{folder}: lacks {missing[0]!r}, which its {INDEX} names; expected all its weights; "
            "fetch the model again"
        )
    return [*names, *([] if names == (WHOLE,) else [INDEX])]
