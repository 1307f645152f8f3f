"""Evaluation on tables: gold, judgements, reward-model scores, and every number in eval.json."""

from collections.abc import Sequence
from itertools import pairwise, product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mutual_taught import files, gold, tables
from mutual_taught.keys import pair_id
from mutual_taught.metrics import (
    Floats,
    Interval,
    bootstrap,
    pair_accuracy,
    ranked_right,
    sign_flip_p,
)
from mutual_taught.selection import outcomes_with_failures

Metrics = dict[str, float | None]
Row = dict[str, Any]
MODELS = ("r0", "rt")
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
    """Add gold (share of instructions followed), passed (all), and lengths in characters.

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
    """Compare this policy's answers with the base's and the previous one's, answer by answer.

    Judges: `verifiable` (gold) where the prompt is, and `reward_model` (the fixed r_0), of which
    an answer without a reward loses against one with a reward and ties with another without.

    Returns:
        Rows of `judgements`; system_a is this policy, outcome 1 where it is better.
    """
    parts = []
    verifiable = systems.own["gold"].is_valid().to_numpy()
    for name, other in (("base", systems.base), ("previous", systems.previous)):
        for judge_name, column in (("verifiable", "gold"), ("reward_model", "reward_r0")):
            known = verifiable if column == "gold" else np.ones(len(verifiable), bool)
            rows = np.flatnonzero(known)
            own, theirs = systems.own.take(pa.array(rows)), other.take(pa.array(rows))
            raw_a, raw_b = own[column].to_numpy(), theirs[column].to_numpy()
            size = len(rows)
            parts.append(
                pa.table(
                    {
                        "prompt_id": own["prompt_id"], "response_index": own["response_index"],
                        "system_a": ["policy"] * size, "system_b": [name] * size,
                        "judge": [judge_name] * size, "order": np.zeros(size, np.int64),
                        "outcome": outcomes_with_failures(raw_a, raw_b),
                        "raw_a": tables.numbers(raw_a), "raw_b": tables.numbers(raw_b),
                        "parse_ok": ~np.isnan(raw_a) & ~np.isnan(raw_b),
                        "length_a": own["length_tokens"], "length_b": theirs["length_tokens"],
                    },
                    schema=tables.JUDGEMENTS.schema,
                )
            )  # fmt: skip
    return pa.concat_tables(parts)


def own_pairs(generations: pa.Table) -> pa.Table:
    """List all pairs of one prompt's answers whose gold differs, better one first.

    Returns:
        Rows of `rm_scores`, for the reward models `r0` and `rt`.
    """
    rows = []
    for answers in _by_prompt(generations.filter(generations["gold"].is_valid())):
        for better, worse in product(answers, answers):
            if better["gold"] > worse["gold"]:
                name = pair_id(
                    "own", 0, better["prompt_id"], str(better["response_index"]),
                    str(worse["response_index"]),
                )  # fmt: skip
                rows += [_scored("own_samples", name, model, better, worse) for model in MODELS]
    return pa.Table.from_pylist(rows) if rows else pa.table({})


def _by_prompt(generations: pa.Table) -> list[list[Row]]:
    groups: dict[str, list[Row]] = {}
    for row in generations.to_pylist():
        groups.setdefault(row["prompt_id"], []).append(row)
    return list(groups.values())


def _scored(kind: str, name: str, model: str, better: Row, worse: Row) -> Row:
    return {
        "set": kind, "pair_id": name, "subset": kind, "prompt_id": better["prompt_id"],
        "reward_model": model, "reward_chosen": better[f"reward_{model}"],
        "reward_rejected": worse[f"reward_{model}"], "length_chosen": better["length_chars"],
        "length_rejected": worse["length_chars"],
    }  # fmt: skip


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
            "subset": ["gold_pairs"] * size, "prompt_id": prompts, "reward_model": [model] * size,
            "reward_chosen": tables.numbers(both[:, 0]),
            "reward_rejected": tables.numbers(both[:, 1]),
            "length_chosen": [len(text) for text in chosen],
            "length_rejected": [len(text) for text in rejected],
        }
    )  # fmt: skip


def policy_metrics(systems: Systems, judgements: pa.Table, seed: int) -> Metrics:
    """Compute the policy's numbers from its generations and judgements.

    All intervals resample prompts: the answers of a prompt move together. Mean rewards are over the
    answers that have one; `policy.unscored` counts the others.
    """
    own = systems.own
    prompts = own["prompt_id"].to_numpy(zero_copy_only=False)
    lengths = own["length_tokens"].to_numpy()
    blank = np.array([not text.strip() for text in own["response"].to_pylist()])
    found: Metrics = {
        "policy.reward.r0.mean": _mean(own["reward_r0"]),
        "policy.reward.rt.mean": _mean(own["reward_rt"]),
        "policy.unscored": float(own["reward_rt"].null_count),
        "policy.length_tokens.mean": float(lengths.mean()),
        "policy.length_tokens.median": float(np.median(lengths)),
        "policy.length_tokens.p95": float(np.percentile(lengths, 95)),
        "policy.truncated_rate": float(
            (own["finish_reason"].to_numpy(zero_copy_only=False) == "length").mean()
        ),
        "policy.empty_rate": float(blank.mean()),
        "policy.distinct_2": distinct_2(own["response"].to_pylist()),
    }
    known = own["gold"].is_valid().to_numpy()
    values = own["gold"].to_numpy()[known]
    if len(values):
        found |= _interval("policy.gold", bootstrap(values, seed, _codes(prompts[known])))
        passed = own["passed"].to_numpy(zero_copy_only=False)[known].astype(np.float64)
        pass_rate = bootstrap(passed, seed, _codes(prompts[known]))
        found |= {"policy.gold.pass_rate": pass_rate.mean,
                  "policy.gold.pass_rate_ci_lo": pass_rate.ci_lo,
                  "policy.gold.pass_rate_ci_hi": pass_rate.ci_hi}  # fmt: skip
        found |= _gold_change(systems, known, prompts, seed)
    for name in ("base", "previous"):
        for judge_name in ("verifiable", "reward_model"):
            found |= _win_rate(judgements, name, judge_name, seed)
    return found


def _mean(rewards: pa.ChunkedArray) -> float | None:
    """Give the mean over the answers that have a reward."""
    values = rewards.drop_null().to_numpy()
    return float(values.mean()) if len(values) else None


def _gold_change(
    systems: Systems, known: NDArray[np.bool_], prompts: NDArray[np.object_], seed: int
) -> Metrics:
    change = systems.own["gold"].to_numpy()[known] - systems.base["gold"].to_numpy()[known]
    groups = _codes(prompts[known])
    per_prompt = np.bincount(groups, change) / np.bincount(groups)
    return {
        **_interval("policy.gold_vs_base", bootstrap(change, seed, groups)),
        "policy.gold_vs_base.p": sign_flip_p(per_prompt, seed),
    }


def _win_rate(judgements: pa.Table, other: str, judge_name: str, seed: int) -> Metrics:
    rows = np.flatnonzero(
        (judgements["system_b"].to_numpy(zero_copy_only=False) == other)
        & (judgements["judge"].to_numpy(zero_copy_only=False) == judge_name)
    )
    chosen = judgements.take(pa.array(rows))
    if not len(chosen):
        return {}
    name = f"policy.win_rate.vs_{other}.{judge_name}"
    values = chosen["outcome"].to_numpy()
    groups = _codes(chosen["prompt_id"].to_numpy(zero_copy_only=False))
    found: Metrics = dict(_interval(name, bootstrap(values, seed, groups)))
    found[f"{name}.ties"] = float((values == 0.5).sum())
    if judge_name == "reward_model":
        found[f"{name}.independent"] = 0.0
        found[f"{name}.unscored"] = float((~chosen["parse_ok"].to_numpy()).sum())
    return found


def reward_model_metrics(scores: pa.Table, seed: int) -> Metrics:
    """Compute the reward models' numbers from `rm_scores`.

    `reward_model.<set>.…` is r_t on the held-out gold pairs; `reward_model.own_samples.{rt,r0}.…`
    are r_t and r_0 on the policy's own answers, and `difference` their paired difference. A pair
    with a side that has no reward is an error, counted as `unscored`. Rows may
    come in any order: they are summed in that of the written table, to the last bit.
    """
    found: Metrics = {}
    if len(scores):
        scores = scores.sort_by([(key, "ascending") for key in tables.RM_SCORES.keys])
    for name, sets in (("gold_pairs", "gold_pairs"), ("own_samples", "own_samples")):
        right: dict[str, Floats] = {}
        groups = np.zeros(0, np.int64)
        for model in ("rt", "r0"):
            rows = np.flatnonzero(
                (scores["set"].to_numpy(zero_copy_only=False) == sets)
                & (scores["reward_model"].to_numpy(zero_copy_only=False) == model)
            )
            part = scores.take(pa.array(rows))
            if not len(part):
                continue
            chosen, rejected = part["reward_chosen"].to_numpy(), part["reward_rejected"].to_numpy()
            groups = _codes(part["prompt_id"].to_numpy(zero_copy_only=False))
            measured = pair_accuracy(chosen, rejected, seed, groups)
            prefix = f"reward_model.{name}" if name == "gold_pairs" else ""
            prefix = (
                f"{prefix}{'.r0' if model == 'r0' else ''}"
                if prefix
                else (f"reward_model.{name}.{model}")
            )
            interval = measured.accuracy
            found |= {
                f"{prefix}.accuracy": interval.mean, f"{prefix}.ci_lo": interval.ci_lo,
                f"{prefix}.ci_hi": interval.ci_hi, f"{prefix}.n": float(len(part)),
                f"{prefix}.ties": float(measured.ties),
                f"{prefix}.unscored": float(measured.unscored),
                f"{prefix}.log_loss": measured.log_loss, f"{prefix}.margin": measured.margin,
                f"{prefix}.accuracy_chosen_longer": _accuracy_where(part, longer=True),
                f"{prefix}.accuracy_chosen_shorter": _accuracy_where(part, longer=False),
            }  # fmt: skip
            right[model] = ranked_right(chosen, rejected)
        if len(right) == 2:
            change = bootstrap(right["rt"] - right["r0"], seed, groups)
            found |= _interval(f"reward_model.{name}.difference", change)
    return found


def _accuracy_where(part: pa.Table, longer: bool) -> float | None:
    gap = part["length_chosen"].to_numpy() - part["length_rejected"].to_numpy()
    rows = gap > 0 if longer else gap < 0
    right = ranked_right(part["reward_chosen"].to_numpy(), part["reward_rejected"].to_numpy())
    return float(right[rows].mean()) if rows.any() else None


def distinct_2(texts: Sequence[str]) -> float:
    """Give the share of distinct word pairs among all word pairs of the answers."""
    pairs = [
        pair for words in (text.split() for text in texts)
        for pair in pairwise(words)
    ]  # fmt: skip
    return len(set(pairs)) / len(pairs) if pairs else 0.0


def model_outputs(generations: pa.Table, prompts: pa.Table, generator: str) -> list[dict[str, str]]:
    """Give the first answer to every prompt in the form AlpacaEval reads, in prompt order."""
    first = generations.filter(pa.array(generations["response_index"].to_numpy() == 0))
    return [
        {
            "instruction": messages[-1]["content"], "output": text, "generator": generator,
            "dataset": source,
        }
        for messages, source, text in zip(
            prompts["messages"].to_pylist(), prompts["source"].to_pylist(),
            first["response"].to_pylist(), strict=True,
        )
    ]  # fmt: skip


def _interval(name: str, interval: Interval) -> Metrics:
    return {f"{name}.{key}": float(value) for key, value in interval._asdict().items()}


def _codes(names: NDArray[np.object_]) -> NDArray[np.int64]:
    return np.unique(names.astype(str), return_inverse=True)[1].astype(np.int64)
