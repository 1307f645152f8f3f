"""Presets, and ablations that change a key or two of them."""

import copy
import io
import textwrap
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from mutual_taught.config import params
from mutual_taught.errors import InputError
from mutual_taught.terminal import near

FOLDER = Path("presets")
Key = tuple[str, ...]
Leaves = dict[Key, object]


def names() -> list[str]:
    """List the ablations there are."""
    return sorted(path.stem for path in (FOLDER / "ablations").glob("*.yaml"))


def place(ablation: str) -> Path:
    """Locate an ablation's file."""
    return FOLDER / "ablations" / f"{ablation}.yaml"


def description(path: Path) -> str:
    """Give what the first comment of a preset or ablation says, in one line."""
    comment = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        comment.append(line.lstrip("# "))
    return " ".join(comment).split(". ")[0].rstrip(".")


def listing(width: int) -> list[str]:
    """Tell in lines of a width what presets and ablations there are, and what each is for."""
    files = {path.stem: path for path in sorted(FOLDER.glob("*.yaml"))}
    changes = {name: place(name) for name in names()}
    room = max(map(len, [*files, *changes]), default=0) + 4

    def lines(title: str, found: Mapping[str, Path]) -> Iterator[str]:
        yield title
        for name, path in found.items():
            yield from textwrap.wrap(
                description(path),
                width,
                initial_indent=f"  {name}".ljust(room),
                subsequent_indent=" " * room,
                break_on_hyphens=False,
            )

    below = lines("ablations: mutual-taught preset NAME --with ABLATION", changes)
    return [*lines("presets: mutual-taught preset NAME", files), "", *below]


def compose(name: str, ablations: Sequence[str]) -> str:
    """Give the text of a preset, changed by ablations in order; comments stay.

    It is written as DVC writes it, so that `dvc exp run -S` changes only the line of its key.

    Raises:
        InputError: there is no such ablation, or the result is not valid.
    """
    path = FOLDER / f"{name}.yaml"
    params.validate(params.read(path), path)
    text = path.read_text(encoding="utf-8")
    if not ablations:
        return text
    yaml = YAML()
    yaml.default_flow_style = False
    values = yaml.load(text)
    for ablation in ablations:
        if ablation not in names():
            raise InputError(
                f"ablation {ablation!r} does not exist; {near.advice(ablation, names())}"
            )
        merge(values, copy.deepcopy(params.read(place(ablation))))
    sink = io.StringIO()
    yaml.dump(values, sink)
    plain = YAML(typ="safe", pure=True).load(sink.getvalue())
    params.validate(plain, Path(f"{name} with {', '.join(ablations)}"))
    return sink.getvalue()


def merge(values: MutableMapping[str, Any], change: Mapping[str, Any]) -> None:
    """Set the keys of a change, block by block; null removes an entry of `iterations`."""
    for key, value in change.items():
        if value is None and isinstance(values.get(key), Mapping):
            del values[key]
        elif isinstance(value, Mapping) and isinstance(values.get(key), Mapping):
            merge(values[key], value)
        else:
            values[key] = value


def known(path: Path) -> bool:
    """Tell whether a file's values are a preset's, as it is or with ablations in any order."""
    try:
        values = params.read(path)
    except InputError:  # no YAML: whatever it is, no preset
        return False
    changes = [_leaves(params.read(place(name))) for name in names()]
    starts = [_leaves(params.read(file)) for file in FOLDER.glob("*.yaml")]
    return any(_explained(_leaves(values), start, changes) for start in starts)


def _explained(have: Leaves, start: Leaves, changes: Sequence[Leaves]) -> bool:
    """Tell whether ablations lead from one set of values to another.

    The last ablation stands whole in the result, the one before where the last says nothing, and
    so on: each that fits explains its keys, until no other fits. What is left must be as at first.
    """
    explained: set[Key] = set()
    left = list(changes)
    while fitting := [one for one in left if _fits(one, have, start, explained)]:
        explained.update(key for one in fitting for key in one)
        left = [one for one in left if one not in fitting]
    return _rest(have, explained) == _rest(start, explained)


def _fits(change: Leaves, have: Leaves, start: Leaves, explained: set[Key]) -> bool:
    """Tell whether all keys of an ablation are as it sets them, or explained by a later one."""
    for key, value in _rest(change, explained).items():
        found = {other: have[other] for other in have if other[: len(key)] == key}
        removes = value is None and any(other[: len(key)] == key for other in start if other != key)
        if found != ({} if removes else {key: value}):
            return False
    return True


def _rest(leaves: Leaves, explained: set[Key]) -> Leaves:
    """Leave out what is explained, what lies below it, and a value that a block has replaced."""
    replaced = {key[:length] for key in explained for length in range(1, len(key))}
    return {
        key: value
        for key, value in leaves.items()
        if key not in replaced
        and not any(key[:length] in explained for length in range(1, len(key) + 1))
    }


def _leaves(values: Mapping[str, Any]) -> Leaves:
    """List values by their path of keys; an empty block is a value, too."""
    return dict(_walk(values, ()))


def _walk(values: Mapping[str, Any], above: Key) -> Iterator[tuple[Key, object]]:
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _walk(value, (*above, str(key)))
        else:
            yield (*above, str(key)), value
