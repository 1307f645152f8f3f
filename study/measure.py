"""Numbers of a finished run that the study keeps: of every stage, and of every prompt."""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from mutual_taught.artifacts import files, tables
from mutual_taught.evaluation import gold
from study.results import ResultRow

Instructions = Mapping[str, tuple[Sequence[str], Sequence[str]]]


def rows(run: Path) -> Iterator[ResultRow]:
    """Measure every iteration of a run; one that stopped has the numbers of the one before.

    Args:
        run: folder of the run, with a folder an iteration.
    """
    asked, labelled = (
        instructions(tables.read(run / "0" / "splits" / f"{name}.parquet", tables.PROMPTS))
        for name in ("eval", "reward")
    )
    for folder in files.iterations(run):
        t = int(folder.name)
        yield from _metrics(t, folder)
        yield from _responses(t, folder, asked)
        yield from _models(t, folder)
        if t:
            yield from _labels(t, folder, labelled)


def instructions(prompts: pa.Table) -> Instructions:
    """List the instructions of every prompt: their names and values."""
    return {
        row["prompt_id"]: (row["instruction_ids"], row["instruction_kwargs"])
        for row in prompts.to_pylist()
    }


def _metrics(t: int, folder: Path) -> Iterator[ResultRow]:
    """Keep all numbers that the stages wrote themselves."""
    for path in sorted((folder / "metrics").glob("*.json")):
        for name, value in files.read_json(path).items():
            if isinstance(value, int | float) and math.isfinite(value):
                yield ResultRow(t, f"{path.stem}.{name}", "", "", float(value), 1)


def _responses(t: int, folder: Path, asked: Instructions) -> Iterator[ResultRow]:
    """Measure the policy's responses: gold, passed, length, cut, and each instruction by itself."""
    generations = tables.read(tables.GENERATIONS.path(folder / "eval"), tables.GENERATIONS)
    for prompt, responses in by_prompt(generations).items():
        columns = {
            "gold": [row["gold"] for row in responses],
            "passed": [row["passed"] for row in responses],
            "length": [row["length_tokens"] for row in responses],
            "cut": [row["finish_reason"] == "length" for row in responses],
        }
        for name, values in columns.items():
            yield from _mean(t, name, "", prompt, values)
        for name, value in zip(*asked[prompt], strict=True):
            follows = [gold.passed(row["response"], [name], [value]) for row in responses]
            yield from _mean(t, "follows", name, prompt, follows)
    judged = tables.read(tables.JUDGEMENTS.path(folder / "eval"), tables.JUDGEMENTS)
    for prompt, found in by_prompt(judged).items():
        against = [
            row["outcome"]
            for row in found
            if (row["judge"], row["system_b"]) == ("verifiable", "base")
        ]
        yield from _mean(t, "wins_base", "", prompt, against)


def _models(t: int, folder: Path) -> Iterator[ResultRow]:
    """Measure r_t and r_0 on the same pairs: of the policy's responses, and held-out gold pairs."""
    scores = tables.read(tables.RM_SCORES.path(folder / "eval"), tables.RM_SCORES)
    for prompt, found in by_prompt(scores).items():
        for pairs in ("own_samples", "gold_pairs"):
            for model in ("rt", "r0"):
                right = [
                    ranked_right(row["reward_chosen"], row["reward_rejected"])
                    for row in found
                    if (row["set"], row["reward_model"]) == (pairs, model)
                ]
                yield from _mean(t, f"{pairs}.{model}", "", prompt, right)


def ranked_right(chosen: float | None, rejected: float | None) -> bool:
    """Tell whether a pair is ranked right: both sides have a reward, the better one the higher."""
    return chosen is not None and rejected is not None and chosen > rejected


def _labels(t: int, folder: Path, asked: Instructions) -> Iterator[ResultRow]:
    """Measure the M-step's pairs on D_M: gold of both sides, margin in units of epsilon, kept.

    From these follow the share of labels that are right by gold, and that of r_{t-1}'s own sign.
    The margin is pi_t's reward minus the other, also where gold chooses the other.
    """
    pairs = tables.read(tables.PSEUDO_PAIRS.path(folder), tables.PSEUDO_PAIRS)
    if not len(pairs):
        return
    epsilon = tables.provenance(pairs).get("tolerance") or math.nan
    for row in pairs.to_pylist():
        prompt, rewards = row["prompt_id"], (row["reward"], row["previous_reward"])
        ids, kwargs = asked[prompt]
        sides = {"dm.gold": row["response"], "dm.gold_previous": row["previous_response"]}
        for name, text in sides.items():
            if ids:
                yield from _mean(t, name, "", prompt, [gold.gold(text, ids, kwargs)])
            for instruction, value in zip(ids, kwargs, strict=True):
                follows = [gold.gold(text, [instruction], [value])]
                yield from _mean(t, name, instruction, prompt, follows)
        if None not in rewards:
            margin = rewards[0] - rewards[1]
            yield from _mean(t, "dm.margin", "", prompt, [margin])
            yield from _mean(t, "dm.margin_in_epsilon", "", prompt, [margin / epsilon])
        yield from _mean(t, "dm.kept", "", prompt, [row["kept"]])


def by_prompt(table: pa.Table) -> dict[str, list[dict[str, Any]]]:
    """Group the rows of a table by their prompt."""
    found: dict[str, list[dict[str, Any]]] = {}
    for row in table.to_pylist():
        found.setdefault(row["prompt_id"], []).append(row)
    return found


def _mean(
    t: int, measure: str, subset: str, prompt: str, values: Sequence[float | bool | None]
) -> Iterator[ResultRow]:
    """Give the mean over a prompt's values that exist; nothing where none does."""
    known = [float(value) for value in values if value is not None]
    if known and math.isfinite(mean := float(np.mean(known))):
        yield ResultRow(t, measure, subset, prompt, mean, len(known))
