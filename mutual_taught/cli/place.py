"""Paths on the command line, and the project they belong to."""

import os
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

MARKS = ("dvc.yaml", "params.yaml")
ORIGIN = "mutual_taught.origin"


def root(folder: Path) -> Path | None:
    """Find the project that a folder is in: the nearest one that has dvc.yaml or params.yaml."""
    found = (at for at in (folder, *folder.parents) if any((at / mark).is_file() for mark in MARKS))
    return next(found, None)


class Place(click.Path):
    """A path as it was typed: relative to where the user is, and a default to the project."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Give the path relative to the project, if it is inside it."""
        path = Path(os.fsdecode(super().convert(value, param, ctx)))
        origin = None if ctx is None else ctx.meta.get(ORIGIN)
        if origin is None or origin == Path.cwd() or path.is_absolute() or param is None:
            return path
        assert ctx is not None
        if ctx.get_parameter_source(param.name or "") is not ParameterSource.COMMANDLINE:
            return path
        return Path(os.path.relpath(Path(origin, path).resolve(), Path.cwd().resolve()))


PLACE = Place()


def spelled(name: str) -> str:
    """Give a folder as the project sees it, whatever folder the user is in."""
    origin = click.get_current_context().meta.get(ORIGIN, Path.cwd())
    place = Path(origin, name)
    if not place.is_dir() or place == Path.cwd() / name:
        return name
    return os.path.relpath(place.resolve(), Path.cwd().resolve())
