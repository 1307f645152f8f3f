"""Evaluation on tables: gold, own pairs, judgements, and the reward models' scores."""

from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mutual_taught.artifacts import files, tables
from mutual_taught.evaluation import gold
from mutual_taught.keys import pair_id
from mutual_taught.method.selection import outcomes_with_failures

Row = dict[str, Any]
MODELS = ("r0", "rt")
GOLD, BASE, TEACHER = "verifiable", "reward_model", "previous_reward_model"
JUDGED = {"base": (GOLD, BASE), "previous": (GOLD, BASE, TEACHER)}  # opponent -> its judges
HELD_OUT = "heldout"


class Systems(NamedTuple):
    """The generations compared: this iteration's, the base's, the previous iteration's."""

    own: pa.Table
    base: pa.Table
    previous: pa.Table


def copy(previous: Path, out: Path) -> None:
    """Carry the previous evaluation over to a stopped iteration, with `active` 0."""
    files.link_tree(previous / "eval", out / "eval")
    metrics = files.read_json(previous / "metrics" / "eval.json")
    files.write_metrics(out / "metrics" / "eval.json", {**metrics, "active": 0.0})


def add_gold(generations: pa.Table, prompts: pa.Table) -> pa.Table:
    """Add gold (how far instructions are followed), passed (all are), and lengths in characters.

    Args:
        generations: rows of `responses`, sorted.
        prompts: table `prompts` of the eval split, with the instructions.
    """
    wanted = {
        row["prompt_id"]: (row["instruction_ids"], row["instruction_kwargs"])
        for row in prompts.to_pylist()
    }
    shares: list[float | None] = []
    passed: list[bool | None] = []
    texts = generations["response"].to_pylist()
    for prompt, text in zip(generations["prompt_id"].to_pylist(), texts, strict=True):
        ids, kwargs = wanted[prompt]
        shares.append(gold.gold(text, ids, kwargs) if ids else None)
        passed.append(gold.passed(text, ids, kwargs) if ids else None)
    extra = {
        "length_chars": pa.array([len(text) for text in texts], pa.int64()),
        "gold": pa.array(shares, pa.float64()),
        "passed": pa.array(passed, pa.bool_()),
    }
    for name, column in extra.items():
        generations = generations.append_column(name, column)
    return generations


def judge(systems: Systems) -> pa.Table:
    """Compare this policy's responses with the base's and the previous one's, response by response.

    Judges: `verifiable` (gold) where the prompt is; `reward_model` (the fixed r_0); and, against
    the previous policy, `previous_reward_model` (r_{t-1}, the policy's teacher). Under a reward
    model a response without a reward loses against one with a reward and ties with another without.

    Returns:
        Rows of `judgements`; system_a is this policy, outcome 1 where it is better.
    """
    own, base, previous = systems
    verifiable = own["gold"].is_valid()
    parts = []
    for name, other in (("base", base), ("previous", previous)):
        with_gold = (own.filter(verifiable), other.filter(verifiable))
        parts.append(_judged(GOLD, ("gold", "gold"), name, *with_gold))
        parts.append(_judged(BASE, ("reward_r0", "reward_r0"), name, own, other))
    taught = ("reward_previous", "reward_rt")  # the previous policy's own r_t is r_{t-1}
    parts.append(_judged(TEACHER, taught, "previous", own, previous))
    return pa.concat_tables(parts)


def _judged(
    judge_name: str, columns: tuple[str, str], name: str, own: pa.Table, other: pa.Table
) -> pa.Table:
    """Let one judge compare two systems, row by row, by the higher value in its column of each."""
    size = len(own)
    raw_a, raw_b = own[columns[0]].to_numpy(), other[columns[1]].to_numpy()
    return pa.table(
        {
            "prompt_id": own["prompt_id"],
            "response_index": own["response_index"],
            "system_a": ["policy"] * size,
            "system_b": [name] * size,
            "judge": [judge_name] * size,
            "order": np.zeros(size, np.int64),
            "outcome": outcomes_with_failures(raw_a, raw_b),
            "raw_a": tables.numbers(raw_a),
            "raw_b": tables.numbers(raw_b),
            "parse_ok": ~np.isnan(raw_a) & ~np.isnan(raw_b),
            "length_a": own["length_tokens"],
            "length_b": other["length_tokens"],
        },
        schema=tables.JUDGEMENTS.schema,
    )


def own_pairs(generations: pa.Table) -> pa.Table:
    """List all pairs of one prompt's responses whose gold differs, the better one as chosen.

    Responses without gold are in no pair.

    Args:
        generations: the policy's responses with gold, lengths and the rewards of r_0 and r_t.

    Returns:
        Rows of `rm_scores`, one for `r0` and one for `rt` a pair; a table without columns if no
        gold differs.
    """
    rows = []
    for responses in _by_prompt(generations.filter(generations["gold"].is_valid())):
        for better, worse in product(responses, responses):
            if better["gold"] > worse["gold"]:
                name = pair_id(
                    "own",
                    0,
                    better["prompt_id"],
                    str(better["response_index"]),
                    str(worse["response_index"]),
                )
                rows += [_scored("own_samples", name, model, better, worse) for model in MODELS]
    return pa.Table.from_pylist(rows) if rows else pa.table({})


def _by_prompt(generations: pa.Table) -> list[list[Row]]:
    groups: dict[str, list[Row]] = {}
    for row in generations.to_pylist():
        groups.setdefault(row["prompt_id"], []).append(row)
    return list(groups.values())


def _scored(kind: str, name: str, model: str, better: Row, worse: Row) -> Row:
    return {
        "set": kind,
        "pair_id": name,
        "subset": kind,
        "prompt_id": better["prompt_id"],
        "reward_model": model,
        "reward_chosen": better[f"reward_{model}"],
        "reward_rejected": worse[f"reward_{model}"],
        "length_chosen": better["length_chars"],
        "length_rejected": worse["length_chars"],
    }


def gold_pair_scores(
    pairs: pa.Table, model: str, rewards: Sequence[NDArray[np.float64]] | NDArray[np.float64]
) -> pa.Table:
    """Lay out one reward model's scores of held-out gold pairs as rows of `rm_scores`.

    Args:
        pairs: table `gold_pairs`.
        model: `r0` or `rt`.
        rewards: (chosen, rejected) of each pair, NaN where one has no reward.
    """
    both = np.array(rewards).reshape(-1, 2)
    chosen, rejected = pairs["chosen"].to_pylist(), pairs["rejected"].to_pylist()
    prompts = pairs["prompt_id"].to_pylist()
    size = len(pairs)
    return pa.table(
        {
            "set": ["gold_pairs"] * size,
            "pair_id": [
                pair_id("gold", 0, *row) for row in zip(prompts, chosen, rejected, strict=True)
            ],
            "subset": ["gold_pairs"] * size,
            "prompt_id": prompts,
            "reward_model": [model] * size,
            "reward_chosen": tables.numbers(both[:, 0]),
            "reward_rejected": tables.numbers(both[:, 1]),
            "length_chosen": [len(text) for text in chosen],
            "length_rejected": [len(text) for text in rejected],
        }
    )


def model_outputs(generations: pa.Table, prompts: pa.Table, generator: str) -> list[dict[str, str]]:
    """Give the first response to every prompt in the form AlpacaEval reads, in prompt order."""
    first = generations.filter(pa.array(generations["response_index"].to_numpy() == 0))
    return [
        {
            "instruction": messages[-1]["content"],
            "output": text,
            "generator": generator,
            "dataset": source,
        }
        for messages, source, text in zip(
            prompts["messages"].to_pylist(),
            prompts["source"].to_pylist(),
            first["response"].to_pylist(),
            strict=True,
        )
    ]
