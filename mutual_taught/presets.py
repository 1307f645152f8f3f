"""Presets, and ablations that change a key or two of them."""

import io
from collections.abc import Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from mutual_taught import params
from mutual_taught.errors import InputError

FOLDER = Path("presets")


def names() -> list[str]:
    """List the ablations there are."""
    return sorted(path.stem for path in (FOLDER / "ablations").glob("*.yaml"))


def compose(name: str, ablations: Sequence[str]) -> str:
    """Give the text of a preset, changed by ablations in order; comments stay.

    Raises:
        InputError: there is no such ablation, or the result is not valid.
    """
    path = FOLDER / f"{name}.yaml"
    params.validate(params.read(path), path)
    text = path.read_text(encoding="utf-8")
    if not ablations:
        return text
    yaml = YAML(pure=True)
    yaml.width = 1000
    values = yaml.load(text)
    for ablation in ablations:
        if ablation not in names():
            raise InputError(f"ablation {ablation!r}: expected one of {', '.join(names())}")
        _merge(values, YAML(typ="safe", pure=True).load(FOLDER / "ablations" / f"{ablation}.yaml"))
    sink = io.StringIO()
    yaml.dump(values, sink)
    plain = YAML(typ="safe", pure=True).load(sink.getvalue())
    params.validate(plain, Path(f"{name} with {', '.join(ablations)}"))
    return sink.getvalue()


def known(content: bytes) -> bool:
    """Tell whether a params.yaml is a preset's, as it is or with one ablation."""
    presets = [path.stem for path in FOLDER.glob("*.yaml")]
    plain = any(content == (FOLDER / f"{name}.yaml").read_bytes() for name in presets)
    return plain or any(content == _try(name, one) for name in presets for one in names())


def _try(name: str, ablation: str) -> bytes | None:
    try:
        return compose(name, [ablation]).encode()
    except InputError:
        return None


def _merge(values: MutableMapping[str, Any], change: Mapping[str, Any]) -> None:
    """Set the keys of a change, block by block; null removes an entry of `iterations`."""
    for key, value in change.items():
        if value is None and isinstance(values.get(key), Mapping):
            del values[key]
        elif isinstance(value, Mapping) and isinstance(values.get(key), Mapping):
            _merge(values[key], value)
        else:
            values[key] = value
