"""Values for params.yaml from the command line: `-S KEY=VALUE` as `dvc exp run` takes it."""

import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mutual_taught.config import params
from mutual_taught.errors import InputError, first_line
from mutual_taught.terminal import near


def composed(given: Sequence[str]) -> list[dict[str, Any]]:
    """Give the params.yaml of every experiment that -S options make, checked; nothing is changed.

    DVC's own code reads the options and writes the values, on a copy of the file.

    Args:
        given: what follows each -S, such as `dpo.beta=0.05` or, a sweep, `dpo.beta=0.05,0.1`.

    Returns:
        One for each experiment: one, or with sweeps as many as their values multiply to.

    Raises:
        InputError: an option cannot be read, names a key that is not there, or makes a params.yaml
            that a stage would refuse.
    """
    from dvc.utils.cli_parse import to_path_overrides
    from dvc.utils.hydra import get_hydra_sweeps

    by_file = to_path_overrides(given)
    for file in by_file:
        if file != str(params.PARAMS):
            raise InputError(
                f"-S {file}:{by_file[file][0]}: expected a key of {params.PARAMS}, "
                "such as dpo.beta=0.05; all values are there"
            )
    for option in given:
        _check_key(option)
    with _one_line(" ".join(f"-S {option}" for option in given)):
        sweeps = get_hydra_sweeps(by_file)
    return [checked(sweep.get(str(params.PARAMS), [])) for sweep in sweeps]


def checked(given: Sequence[str]) -> dict[str, Any]:
    """Give the params.yaml that overrides make, checked; nothing is changed.

    Raises:
        InputError: an override does not apply, or a stage would refuse the result.
    """
    from dvc.utils.hydra import apply_overrides

    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / params.PARAMS.name
        params.read(params.PARAMS)
        shutil.copyfile(params.PARAMS, copy)
        if given:
            with _one_line(" ".join(f"-S {option}" for option in given)):
                apply_overrides(copy, list(given))
        values = params.read(copy)
    try:
        params.validate(values)
    except InputError as error:
        raise InputError(f"{error}; {_way_out()}") from None
    return values


def _way_out() -> str:
    """Say whose value was refused: that of an option, or that of the file."""
    try:
        params.validate(params.read(params.PARAMS))
    except InputError:
        return (
            "the value is in the file: git checkout params.yaml, or mutual-taught preset NAME "
            "--force, puts it right"
        )
    return "params.yaml is unchanged"


def _check_key(option: str) -> None:
    """Refuse a key that is not in params.yaml, unless the option adds one."""
    from dvc.utils.hydra import to_hydra_overrides

    with _one_line(f"-S {option}"):
        override = to_hydra_overrides([option.removeprefix(f"{params.PARAMS}:")])[0]
    name = str(override.key_or_group)
    if override.is_add() or override.is_force_add():
        return
    at: object = params.read(params.PARAMS)
    for depth, part in enumerate(name.split(".")):
        if not isinstance(at, Mapping) or part not in at:
            where = ".".join(name.split(".")[:depth]) or str(params.PARAMS)
            known = list(map(str, at)) if isinstance(at, Mapping) else []
            add = "" if override.is_delete() else f"; to add a key, write -S '+{option}'"
            raise InputError(
                f"-S {option}: {where} has no {part!r}; {near.advice(part, known)}{add}"
            )
        at = at[part]


@contextmanager
def _one_line(given: str) -> Iterator[None]:
    """Say in one line what DVC's libraries say of options that they cannot read or apply."""
    from dvc.exceptions import DvcException
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    try:
        yield
    except (DvcException, HydraException, OmegaConfBaseException) as error:
        cause = error.__cause__ or error
        reason = first_line(cause).partition(": ")[2] or str(error)
        raise InputError(
            f"{given}: {reason}; expected KEY=VALUE, such as dpo.beta=0.05; quote what has "
            "spaces, braces or brackets; params.yaml is unchanged"
        ) from None


def between(before: Mapping[str, Any], after: Mapping[str, Any], prefix: str = "") -> list[str]:
    """List the overrides that make one params.yaml of another.

    A key that is gone is `~key`, a new one `+key=value`, a changed one `key=value`; blocks that
    are in both are compared key by key.
    """
    found: list[str] = []
    for key in [*before, *(key for key in after if key not in before)]:
        name = f"{prefix}{key}"
        if key not in after:
            found.append(f"~{name}")
        elif key not in before:
            found.append(f"+{name}={written(after[key])}")
        elif isinstance(before[key], Mapping) and isinstance(after[key], Mapping):
            found += between(before[key], after[key], f"{name}.")
        elif (type(before[key]), before[key]) != (type(after[key]), after[key]):
            found.append(f"{name}={written(after[key])}")
    return found


def written(value: object) -> str:
    """Write a value in the grammar of overrides; strings are quoted, so that none reads as more."""
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case str():
            return "'" + value.replace("\\'", "\\\\'").replace("'", "\\'") + "'"
        case Mapping():
            return "{" + ",".join(f"{key}:{written(item)}" for key, item in value.items()) + "}"
        case list():
            return "[" + ",".join(map(written, value)) + "]"
    return repr(value)
