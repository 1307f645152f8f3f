"""The seed preferences shipped in data/: pi_0's own answers to separate prompts, ranked by gold."""

from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from mutual_taught import gold, prompts, sampling, tables
from mutual_taught.errors import InputError
from mutual_taught.keys import prompt_id, sampling_seed
from mutual_taught.params import Engine, Sample, Tokens


class Sizes(NamedTuple):
    """How many pairs go to training r_0, and how many are held out to measure every r_t on."""

    train: int
    heldout: int


def questions(templates: Path, count: int, seed: int) -> pa.Table:
    """Make prompts on topics that no run's prompts have: rows of the table `prompts`."""
    drawn = prompts.expand(prompts.read_templates(templates), count, seed, "seed")
    rows = []
    for row in drawn:
        messages = [{"role": "user", "content": row["prompt"]}]
        rows.append(
            {
                "prompt_id": prompt_id(messages), "messages": messages, "split": "policy_1",
                "source": "seed", "instruction_ids": row["instruction_ids"],
                "instruction_kwargs": row["instruction_kwargs"],
            }
        )  # fmt: skip
    return pa.Table.from_pylist(rows, schema=tables.PROMPTS.schema).sort_by("prompt_id")


def pairs(asked: pa.Table, answers: pa.Table, sizes: Sizes, seed: int) -> pa.Table:
    """Pair each prompt's best answer by gold with its worst; ties fall by a keyed draw.

    Args:
        asked: table `prompts`.
        answers: table `responses` to them.
        sizes: how many pairs of each part.
        seed: of the ties and the parts.

    Returns:
        Rows of `gold_pairs`; `part` is `train` or `heldout`.

    Raises:
        InputError: too few prompts have answers whose gold differs.
    """
    texts: dict[str, list[str]] = {}
    for row in answers.select(["prompt_id", "response"]).to_pylist():
        texts.setdefault(row["prompt_id"], []).append(row["response"])
    found = []
    for row in asked.to_pylist():
        name = row["prompt_id"]
        ranked = sorted(
            (gold.gold(text, row["instruction_ids"], row["instruction_kwargs"]),
             sampling_seed(seed, 0, "seed-tie", name, index), text)
            for index, text in enumerate(texts[name])
            if text.strip()
        )  # fmt: skip
        if ranked and ranked[-1][0] > ranked[0][0]:
            found.append(
                {
                    "prompt_id": name, "messages": row["messages"], "chosen": ranked[-1][2],
                    "rejected": ranked[0][2], "gold_chosen": ranked[-1][0],
                    "gold_rejected": ranked[0][0],
                }
            )  # fmt: skip
    if len(found) < sum(sizes):
        raise InputError(
            f"{len(found)} of {len(asked)} prompts have answers whose gold differs; expected at "
            f"least {sum(sizes)}; ask more prompts"
        )
    found.sort(key=lambda row: sampling_seed(seed, 0, "seed-part", row["prompt_id"], 0))
    parts = ["train"] * sizes.train + ["heldout"] * sizes.heldout
    return pa.Table.from_pylist(
        [{**row, "part": part} for row, part in zip(found, parts, strict=False)]
    )


def make(
    policy: Path, templates: Path, out: Path, count: int, sizes: Sizes, sample: Sample,
    engine: Engine, tokens: Tokens, seed: int,
) -> None:  # fmt: skip
    """Ask, sample, rank and write `out/seed_preferences.parquet`."""
    asked = questions(templates, count, seed)
    answers, made_from = sampling.responses(policy, asked, 1, sample, engine, tokens, seed)
    table = tables.renamed(tables.GOLD_PAIRS, "seed_preferences")
    tables.write(out, table, pairs(asked, answers, sizes, seed), {**made_from, "count": count})
