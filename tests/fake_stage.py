"""A stand-in for any stage of dvc.yaml: its outputs are a hash of its deps and params."""

import hashlib
import json
import sys
from pathlib import Path

from ruamel.yaml import YAML


def content(path: Path) -> bytes:
    """Give a file's bytes, or a folder's files' by name."""
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file())
        return b"".join(file.name.encode() + file.read_bytes() for file in files)
    return path.read_bytes()


def main(name: str, *words: str) -> None:
    """Read what the stage declares, write what it declares."""
    yaml = YAML(typ="safe", pure=True)
    params = yaml.load(Path("params.yaml").read_text())
    stage = yaml.load(Path("dvc.yaml").read_text())["stages"][name]
    body = stage.get("do", stage)
    values = dict(word.split("=") for word in words)

    def resolve(text: str) -> str:
        for place, value in values.items():
            text = text.replace(f"${{{place}}}", value)
        return text

    seen = hashlib.sha256(f"{name} {words}".encode())
    for dep in map(resolve, body["deps"]):
        seen.update(content(Path(dep)))
    for param in map(resolve, body["params"]):
        value = params
        for part in param.split("."):
            value = value[part]
        seen.update(json.dumps(value, sort_keys=True).encode())
    plots = [next(iter(plot)) for plot in body.get("plots", [])]
    for out in map(resolve, [*body["outs"], *plots]):
        path = Path(out) if Path(out).suffix else Path(out) / "file"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"x": int(f"{out} {seen.hexdigest()}".encode().hex(), 16) % 97}))
        if path.suffix not in (".json", ".csv"):
            path.write_text(f"{out} {seen.hexdigest()}")
        if path.suffix == ".csv":
            path.write_text(f"step,loss\n1,{int(seen.hexdigest()[:4], 16)}\n")
        if path.name == "decision.json":
            path.write_text(json.dumps({"hash": seen.hexdigest()}))


if __name__ == "__main__":
    main(*sys.argv[1:])
