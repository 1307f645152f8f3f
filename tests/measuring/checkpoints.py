"""Folders with a config.json and no weights: what is refused before a model is loaded."""

import json
from pathlib import Path
from typing import Any


def make(folder: Path, name: str, **more: Any) -> Path:
    """Write a config that names a class."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"architectures": [name], **more}))
    return folder


def policy(folder: Path) -> Path:
    return make(folder, "LlamaForCausalLM")


def reward_model(folder: Path) -> Path:
    return make(folder, "LlamaForSequenceClassification", id2label={"0": "LABEL_0"})


def pairs(folder: Path, count: int = 3) -> Path:
    """Write a file of the benchmark `pairs`; pairs 2k and 2k + 1 have one prompt."""
    path = folder / "pairs.jsonl"
    rows = [
        {"prompt": f"Name {number // 2}?", "chosen": f"Wave {number}", "rejected": f"{number}"}
        for number in range(count)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path
