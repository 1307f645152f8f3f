"""Small files of policy benchmarks, each in its published format, written by hand."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

Row = dict[str, Any]


def jsonl(path: Path, rows: Sequence[Row]) -> Path:
    """Write an object a line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def array(path: Path, rows: Sequence[Row]) -> Path:
    """Write one JSON array."""
    path.write_text(json.dumps(list(rows)), "utf-8")
    return path


def table(path: Path, rows: Sequence[Row]) -> Path:
    """Write CSV with a header."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def annotation(place: int, preference: float | None, own: int = 4, other: int = 4) -> Row:
    """Give a row of AlpacaEval's annotations.json; lengths are of the model's and baseline's."""
    return {
        "dataset": "koala",
        "instruction": f"Question {place}?",
        "output_1": "b" * other,
        "generator_1": "gpt4_1106_preview",
        "output_2": "m" * own,
        "generator_2": "mine",
        "annotator": "a-judge",
        "preference": preference,
    }


def gamed(count: int) -> list[Row]:
    """Give rows of df_gamed.csv for so many instructions."""
    return [
        {
            "model": model,
            "preference": 0.2 + 0.6 * (place + side) % 1,
            "index": place,
            "std_delta_len": side - 0.5 + place / count,
            "instruction_difficulty": place / count - 0.5,
            "not_gamed_baseline": False,
        }
        for side, model in enumerate(("concise", "verbose"))
        for place in range(count)
    ]


def question(uid: str, category: str = "hard_prompt") -> Row:
    """Give a row of Arena-Hard's question.jsonl."""
    return {"uid": uid, "category": category, "subcategory": "math", "prompt": f"Prove {uid}."}


def judgement(uid: str, *scores: str | None, **other: object) -> Row:
    """Give a row of Arena-Hard's model_judgment files; a score of None is a game that failed."""
    return {
        "uid": uid,
        "category": "hard_prompt",
        "judge": "gpt-4.1",
        "model": "mine",
        "baseline": "o3-mini-2025-01-31",
        "games": [None if score is None else {"score": score, "judgment": {}} for score in scores],
        **other,
    }


def marked(uid: str, model: str, *counts: int) -> Row:
    """Give a row of Arena-Hard's model_answer files: tokens, headers, list items, bold texts."""
    tokens, headers, items, bold = counts
    return {
        "uid": uid,
        "model": model,
        "messages": [{"role": "assistant", "content": {"answer": "…"}}],
        "metadata": {
            "token_len": tokens,
            "header_count": {"h1": headers, "h2": 0},
            "list_count": {"ordered": 0, "unordered": items},
            "bold_count": {"**": bold, "__": 0},
        },
    }


def instructed(key: int | str, *instructions: tuple[str, Row], prompt: str = "Write.") -> Row:
    """Give a row of IFEval's or IFBench's file; other values are null, as the hub has them."""
    return {
        "key": key,
        "prompt": prompt,
        "instruction_id_list": [name for name, _ in instructions],
        "kwargs": [{"relation": None, "num_words": None, **values} for _, values in instructions],
    }
