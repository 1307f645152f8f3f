"""The seed preferences in data/: pi_0's own responses to separate prompts, ranked by gold."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from mutual_taught.artifacts import tables
from mutual_taught.config.blocks import Drawing, Sample
from mutual_taught.errors import InputError
from mutual_taught.evaluation import gold
from mutual_taught.keys import prompt_id, sampling_seed
from mutual_taught.prepare import embedded as prompts
from mutual_taught.steps.sample import responses

DRAWN = tables.RESPONSES.made_from
TABLE = replace(
    tables.GOLD_PAIRS,
    name="seed_preferences",
    made_from=DRAWN._replace(terms=(*DRAWN.terms, "count")),
)


class Sizes(NamedTuple):
    """How many pairs go to training r_0, and how many are held out to measure every r_t on.

    `longer` is the share of each whose chosen response is longer than the rejected.
    """

    train: int
    heldout: int
    longer: float


def questions(templates: Path, count: int, seed: int) -> pa.Table:
    """Make prompts on topics that no run's prompts have: rows of the table `prompts`."""
    drawn = prompts.expand(prompts.read_templates(templates), count, seed, "seed")
    rows = []
    for row in drawn:
        messages = [{"role": "user", "content": row["prompt"]}]
        rows.append(
            {
                "prompt_id": prompt_id(messages),
                "messages": messages,
                "split": "policy_1",
                "source": "seed",
                "instruction_ids": row["instruction_ids"],
                "instruction_kwargs": row["instruction_kwargs"],
            }
        )
    return tables.PROMPTS.sorted(pa.Table.from_pylist(rows, schema=tables.PROMPTS.schema))


def pairs(asked: pa.Table, sampled: pa.Table, sizes: Sizes, seed: int) -> pa.Table:
    """Pair each prompt's best response by gold with its worst; ties fall by a keyed draw.

    The share of pairs whose chosen response is the longer decides what a reward model learns about
    length from them; it is the same in both parts.

    Args:
        asked: table `prompts`.
        sampled: table `responses` to them.
        sizes: how many pairs of each part.
        seed: of the ties and the parts.

    Returns:
        Rows of `gold_pairs`; `part` is `train` or `heldout`.

    Raises:
        InputError: too few prompts have responses whose gold differs, in either half.
    """
    drawn: dict[str, list[tuple[str, int]]] = {}
    for row in sampled.select(["prompt_id", "response", "length_tokens"]).to_pylist():
        drawn.setdefault(row["prompt_id"], []).append((row["response"], row["length_tokens"]))
    longer: list[dict[str, Any]] = []
    others: list[dict[str, Any]] = []
    for row in asked.to_pylist():
        name = row["prompt_id"]
        ranked = sorted(
            (
                gold.gold(text, row["instruction_ids"], row["instruction_kwargs"]),
                sampling_seed(seed, 0, "seed-tie", name, index),
                text,
                length,
            )
            for index, (text, length) in enumerate(drawn[name])
            if text.strip()
        )
        if not ranked or ranked[-1][0] == ranked[0][0]:
            continue
        worst, best = ranked[0], ranked[-1]
        found = {
            "prompt_id": name,
            "messages": row["messages"],
            "chosen": best[2],
            "rejected": worst[2],
            "gold_chosen": best[0],
            "gold_rejected": worst[0],
        }
        (longer if best[3] > worst[3] else others).append(found)
    parts = (sizes.train, sizes.heldout)
    first = [round(size * sizes.longer) for size in parts]
    rest = [size - taken for size, taken in zip(parts, first, strict=True)]
    rows = _parts(longer, first, "longer", len(asked), seed)
    rows += _parts(others, rest, "not longer", len(asked), seed)
    return pa.Table.from_pylist(rows)


def _parts(
    found: list[dict[str, Any]], sizes: Sequence[int], what: str, asked: int, seed: int
) -> list[dict[str, Any]]:
    """Take the pairs of the two parts, by a keyed draw."""
    if len(found) < sum(sizes):
        raise InputError(
            f"{len(found)} of {asked} prompts have answers whose gold differs, the better one "
            f"{what}; expected at least {sum(sizes)}; ask more prompts"
        )
    found.sort(key=lambda row: sampling_seed(seed, 0, "seed-part", row["prompt_id"], 0))
    parts = ["train"] * sizes[0] + ["heldout"] * sizes[1]
    return [{**row, "part": part} for row, part in zip(found, parts, strict=False)]


class Rate(NamedTuple):
    """How often one instruction is followed, and how its prompts' responses score, as shares."""

    instruction: str
    prompts: int
    complies: float
    differ: float
    gold: float
    passed: float
    length_tokens: float
    cut: float


def rates(asked: pa.Table, sampled: pa.Table) -> list[Rate]:
    """Measure a policy on prompts: for each instruction, and over all of them ("all", last).

    `complies` is the share of responses that wholly follow the instruction, for "all" the mean over
    instructions. `differ` is the share of prompts whose responses do not all have the same gold.
    """
    drawn: dict[str, list[dict[str, Any]]] = {}
    for row in sampled.to_pylist():
        drawn.setdefault(row["prompt_id"], []).append(row)
    found: dict[str, list[tuple[float, ...]]] = {}
    for prompt in asked.to_pylist():
        rows = drawn[prompt["prompt_id"]]
        texts = [row["response"] for row in rows]
        ids, kwargs = prompt["instruction_ids"], prompt["instruction_kwargs"]
        whole = [gold.gold(text, ids, kwargs) for text in texts]
        common = (
            float(len(set(whole)) > 1),
            _mean(whole),
            _mean([value == 1 for value in whole]),
            _mean([row["length_tokens"] for row in rows]),
            _mean([row["finish_reason"] == "length" for row in rows]),
        )
        complies = []
        for name, value in zip(ids, kwargs, strict=True):
            complies.append(_mean([gold.passed(text, [name], [value]) for text in texts]))
            found.setdefault(f"{name} {value}", []).append((complies[-1], *common))
        found.setdefault("all", []).append((_mean(complies), *common))
    order = [*sorted(found.keys() - {"all"}), "all"]
    return [
        Rate(name, len(found[name]), *map(_mean, zip(*found[name], strict=True))) for name in order
    ]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


class Recipe(NamedTuple):
    """How many prompts are made of which templates, and how many pairs of their responses."""

    templates: Path
    prompts: int
    sizes: Sizes


def make(policy: Path, recipe: Recipe, sample: Sample, drawing: Drawing, out: Path) -> list[Rate]:
    """Ask, sample, rank and write `out/seed_preferences.parquet`; give the policy's rates."""
    asked = questions(recipe.templates, recipe.prompts, drawing.seed)
    drawn, made_from = responses(policy, asked, 1, sample, drawing)
    chosen = pairs(asked, drawn, recipe.sizes, drawing.seed)
    tables.write(out, TABLE, chosen, {**made_from, "count": recipe.prompts})
    return rates(asked, drawn)
