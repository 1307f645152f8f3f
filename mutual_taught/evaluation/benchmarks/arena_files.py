"""Arena-Hard's files as published: questions, a model's responses, a judge's verdicts."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from mutual_taught.artifacts.files import digest
from mutual_taught.errors import InputError
from mutual_taught.evaluation.benchmarks import files
from mutual_taught.evaluation.benchmarks.base import Prompt, Prompts
from mutual_taught.evaluation.benchmarks.bradley_terry import VERDICTS
from mutual_taught.evaluation.benchmarks.files import BadRowError, BenchmarkRow
from mutual_taught.terminal.signs import excerpt

QUESTIONS = "rows of uid, category and prompt (text), such as question.jsonl"
JUDGEMENTS = (
    "rows of a model_judgment file (uid, model, judge, games: two, each null or with a score such "
    "as A>B) and, for control of style, of model_answer files (uid, model, messages, metadata)"
)
MARKS = ("token_len", "header_count", "list_count", "bold_count")
METADATA = "which arena-hard-auto's `python -m utils.add_markdown_info` writes"


class Judgement(NamedTuple):
    """What a judge said of a model's response: the verdicts of both games, None for no verdict."""

    path: Path
    number: int
    uid: str
    category: str
    model: str
    judge: str
    baseline: str
    verdicts: tuple[str, str] | None


class Marked(NamedTuple):
    """The style of a response: tokens, headers, list items, bold texts."""

    uid: str
    model: str
    counts: tuple[float, ...]


def read(paths: Sequence[Path], only: str = "") -> Prompts:
    """Read the questions; a prompt is called by its uid, its subset is its category.

    Args:
        paths: of question.jsonl, of today's form or that of the first release (`question_id`,
            `turns`).
        only: the category of a file that names none of its own, and of every question then.
    """
    prompts = files.parsed(paths, lambda row: _question(row, only), QUESTIONS)
    files.require_distinct([prompt.prompt_id for prompt in prompts], paths)
    return prompts


def _question(row: BenchmarkRow, only: str) -> Prompt:
    if row.values.get("prompt") is None and isinstance(row.values.get("turns"), list):
        turns = row.values["turns"]
        if len(turns) != 1 or not isinstance(turns[0], dict):
            raise BadRowError(f"turns is {excerpt(turns)!r}; expected one with content")
        text = files.text(BenchmarkRow(row.path, row.number, turns[0]), "content")
    else:
        text = files.text(row, "prompt")
    category = only or files.text(row, "category")
    return Prompt(_uid(row), category, [{"role": "user", "content": text}])


def _uid(row: BenchmarkRow) -> str:
    old = "uid" not in row.values and "question_id" in row.values
    return files.text(row, "question_id" if old else "uid")


def export(prompts: Prompts, responses: Sequence[str], generator: str, folder: Path) -> list[Path]:
    """Write `model_answer/<model>.jsonl`, which `gen_judgment.py` reads.

    A file is called as its model; so the generator's name loses what no file's should have. Ids of
    responses are hashes, times are 0: the same responses give the same file. What control of style
    needs is absent; `METADATA` says what writes it.
    """
    model = re.sub(r"[^A-Za-z0-9._-]+", "-", generator).strip("-.") or "policy"
    path = folder / "model_answer" / f"{model}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [
        {
            "uid": prompt.prompt_id,
            "ans_id": digest([prompt.prompt_id, model, response])[:22],
            "model": model,
            "messages": [
                {"role": "user", "content": prompt.messages[0]["content"]},
                {"role": "assistant", "content": {"answer": response}},
            ],
            "tstamp": 0.0,
        }
        for prompt, response in zip(prompts, responses, strict=True)
    ]
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.write_text(lines, "utf-8", newline="\n")
    return [path]


def judgements(paths: Sequence[Path], only: str = "") -> tuple[list[Judgement], list[Marked]]:
    """Read verdicts and responses, told apart by their columns.

    Args:
        paths: files of either kind; the first with verdicts is of the model that is measured.
        only: the category of rows that name none.

    Raises:
        InputError: see `files.parsed`; or there is no verdict.
    """
    rows = files.parsed(paths, lambda row: _judged(row, only), JUDGEMENTS)
    said = [row for row in rows if isinstance(row, Judgement)]
    if not said:
        raise InputError(f"{', '.join(map(str, paths))}: no verdict in them; expected {JUDGEMENTS}")
    return said, [row for row in rows if isinstance(row, Marked)]


def _judged(row: BenchmarkRow, only: str) -> Judgement | Marked:
    if "games" not in row.values and ("messages" in row.values or "metadata" in row.values):
        return Marked(_uid(row), _model(row), _counts(row))
    named = row.values.get("baseline")
    return Judgement(
        row.path,
        row.number,
        _uid(row),
        only or files.text(row, "category"),
        _model(row),
        files.text(row, "judge"),
        named if isinstance(named, str) else "",
        _verdicts(row),
    )


def _model(row: BenchmarkRow) -> str:
    """Take a model's name without its owner's, as the leaderboard shows it."""
    return files.text(row, "model").split("/")[-1]


def _verdicts(row: BenchmarkRow) -> tuple[str, str] | None:
    """Take the verdicts; a game that failed or was not understood takes the other one with it."""
    games = files.taken(row, "games")
    if not isinstance(games, list) or len(games) != 2:
        raise BadRowError(f"games is {excerpt(games)!r}; expected two, one in each order")
    scores: list[str] = []
    for game in games:
        said = game.get("score") if isinstance(game, dict) else game
        if said is None:
            return None
        if not isinstance(said, str) or said not in VERDICTS:
            raise BadRowError(f"score is {excerpt(said)!r}; expected one of {', '.join(VERDICTS)}")
        scores.append(said)
    return scores[0], scores[1]


def _counts(row: BenchmarkRow) -> tuple[float, ...]:
    """Take a response's style; a count is a number, or one a kind of mark."""
    metadata = row.values.get("metadata")
    if not isinstance(metadata, dict):
        raise BadRowError(f"lacks metadata, {METADATA}")
    return tuple(_count(metadata.get(name), name) for name in MARKS)


def _count(value: object, name: str) -> float:
    parts = list(value.values()) if isinstance(value, dict) else [value]
    numbers = [part for part in parts if files.is_number(part) and part >= 0]
    if not parts or len(numbers) < len(parts):
        raise BadRowError(f"metadata: {name} is {excerpt(value)!r}; expected numbers from 0")
    return float(sum(numbers))
