"""Lists of prompts and of dropped rows, to find the one that `trace` tells of."""

import random
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from mutual_taught.artifacts import files, tables
from mutual_taught.errors import InputError

Record = dict[str, Any]
SHOWN = 8  # characters of an id, or more where these are not unique


def prompts(run: Path, split: str | None, contains: str, worst: int | None) -> list[Record]:
    """Find prompts.

    Args:
        run: folder of the run.
        split: only those of a split; of `policy`, those of all its parts.
        contains: only those with this text in a turn, in small letters or capitals.
        worst: only so many eval prompts, those whose responses have the lowest mean gold at the
            last evaluation; of equals first those that lost most since iteration 0, then by id.

    Returns:
        `prompt_id`, `id` (its beginning, which is enough), `split`, `messages`, `gold` and `reward`
        (None where there is none), in the order of the run.

    Raises:
        MissingFileError: there is no run.
        InputError: `worst` is asked of a run that has no gold, or of another split than eval.
    """
    rows = tables.read(tables.ALL_PROMPTS.path(run / "0"), tables.ALL_PROMPTS).to_pylist()
    size = _enough([row["prompt_id"] for row in rows])
    gold, reward = _gold(run), _rewards(run)
    found = [
        {
            "prompt_id": row["prompt_id"],
            "id": row["prompt_id"][:size],
            "split": row["split"],
            "messages": row["messages"],
            "gold": gold[-1].get(row["prompt_id"]),
            "reward": reward.get(row["prompt_id"]),
        }
        for row in rows
        if split in (None, row["split"].partition("_")[0]) and _says(row["messages"], contains)
    ]
    return found if worst is None else _worst(found, gold[0], worst, split)


def dropped(run: Path, contains: str) -> list[Record]:
    """List rows of the source that are no prompts: `file`, `row`, `reason`, `excerpt`."""
    path = tables.DROPPED_PROMPTS.path(run / "0")
    rows = tables.read(path, tables.DROPPED_PROMPTS).to_pylist()
    return [row for row in rows if contains.lower() in row["excerpt"].lower()]


def draw(run: Path, split: str | None, seed: int | None) -> str:
    """Draw a prompt's id; with a seed the same one every time."""
    names = [row["prompt_id"] for row in prompts(run, split, "", None)]
    if not names:
        raise InputError(f"{run}: no prompt is in split {split!r}; expected another split")
    return str(random.Random(seed).choice(names))


def draw_pair(run: Path, seed: int | None) -> str:
    """Draw the id of a pair that a reward model was to learn from."""
    paths = _paths(run, tables.REWARD_PAIRS)
    names = [
        name
        for path in paths
        for name in tables.read(path, tables.REWARD_PAIRS)["pair_id"].to_pylist()
    ]
    if not names:
        raise InputError(f"{run}: no reward_pairs.parquet has a pair; expected a run of an M-step")
    return str(random.Random(seed).choice(names))


def lines(found: Sequence[Record]) -> list[str]:
    """Show a prompt a line: id, split, gold, reward, the beginning of the last turn."""
    return [
        f"{row['id']}  {row['split']:9}  {_number('gold', row)}  {_number('reward', row)}  "
        f"{_begin(row['messages'][-1]['content'], 26)}"
        for row in found
    ]


def dropped_lines(found: Sequence[Record]) -> list[str]:
    """Show a dropped row a line."""
    return [
        f"{row['file']} row {row['row']}  {row['reason']}  {_begin(row['excerpt'], 40)}"
        for row in found
    ]


def _worst(
    found: list[Record], base: dict[str, float], count: int, split: str | None
) -> list[Record]:
    graded = [row for row in found if row["gold"] is not None]
    if split not in (None, "eval") or not graded:
        raise InputError(
            "--worst: no such prompt has gold; expected eval prompts with instructions that a "
            "program checks; leave --worst out, or see docs/data.md"
        )

    def key(row: Record) -> tuple[float, float, str]:
        change = row["gold"] - base.get(row["prompt_id"], row["gold"])
        return row["gold"], change, row["prompt_id"]

    return sorted(graded, key=key)[:count]


def _gold(run: Path) -> list[dict[str, float]]:
    """Give the mean gold of each eval prompt, at iteration 0 and at the last one evaluated."""
    there = _paths(run, tables.GENERATIONS, "eval")
    read = [tables.read(path, tables.GENERATIONS) for path in (there[:1] + there[-1:])]
    return [_means(table, "gold") for table in read] or [{}]


def _rewards(run: Path) -> dict[str, float]:
    """Give the mean reward of each policy prompt's responses, at its last iteration."""
    found: dict[str, float] = {}
    for path in _paths(run, tables.REWARDS):
        found |= _means(tables.read(path, tables.REWARDS), "reward")
    return found


def _paths(run: Path, table: tables.Table, inside: str = "") -> list[Path]:
    """List where a table is there, iteration by iteration."""
    paths = (table.path(folder / inside) for folder in files.iterations(run))
    return [path for path in paths if path.exists()]


def _means(table: pa.Table, column: str) -> dict[str, float]:
    grouped = table.group_by("prompt_id").aggregate([(column, "mean")])
    known = grouped.filter(pc.is_valid(grouped[f"{column}_mean"]))
    pairs: Iterable[tuple[str, float]] = zip(
        known["prompt_id"].to_pylist(), known[f"{column}_mean"].to_pylist(), strict=True
    )
    return dict(pairs)


def _enough(names: Sequence[str]) -> int:
    """Find how many characters tell all ids apart, eight at least."""
    size = SHOWN
    while len({name[:size] for name in names}) < len(names):
        size += 1
    return size


def _says(messages: Sequence[Record], text: str) -> bool:
    return any(text.lower() in turn["content"].lower() for turn in messages)


def _number(name: str, row: Record) -> str:
    return f"{name} {'–':>6}" if row[name] is None else f"{name} {row[name]:6.3f}"


def _begin(text: str, size: int) -> str:
    plain = " ".join(text.split())
    return plain if len(plain) <= size else plain[: size - 1] + "…"
