"""Benchmarks that others published: what each is called, what it measures, where it is read.

A benchmark is a module: its published format, its metric. Which functions it has, `base.py` says.
This file imports none of them, so that a list of names costs nothing.
"""

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal, NamedTuple, cast

from mutual_taught.errors import InputError
from mutual_taught.terminal import near

if TYPE_CHECKING:
    from mutual_taught.evaluation.benchmarks.base import (
        Benchmark,
        CheckedBenchmark,
        JudgedBenchmark,
        RewardBenchmark,
    )

Kind = Literal["policy", "reward_model"]


class Entry(NamedTuple):
    """What is measured, the module that does it, and what it is in a few words."""

    kind: Kind
    module: str
    summary: str


REGISTRY: Mapping[str, Entry] = {
    "pairs": Entry("reward_model", "generic_pairs", "any file of chosen and rejected answers"),
    "best-of-n": Entry("reward_model", "best_of_n", "any file of answers with labels"),
    "rewardbench2": Entry("reward_model", "rewardbench2", "RewardBench 2: best of four, and ties"),
    "rewardbench": Entry("reward_model", "rewardbench", "RewardBench: 23 subsets, four sections"),
    "rm-bench": Entry("reward_model", "rm_bench", "RM-Bench: three styles against three"),
    "judgebench": Entry("reward_model", "judgebench", "JudgeBench: pairs objectively labelled"),
    "ppe": Entry("reward_model", "ppe", "PPE correctness: conflict pairs, best-of-K curve"),
    "rmb": Entry("reward_model", "rmb", "RMB: pairs and best-of-N, helpful and harmless"),
    "llmbar": Entry("reward_model", "llmbar", "LLMBar: who follows the instruction"),
    "m-ifeval": Entry("reward_model", "m_ifeval", "M-IFEval's verdicts, turned into pairs"),
    "hh-rlhf": Entry("reward_model", "hh_rlhf", "people's choices, helpful and harmless"),
    "ifeval": Entry("policy", "ifeval", "IFEval: instructions that programs check"),
    "ifbench": Entry("policy", "ifbench", "IFBench: 58 other instructions that programs check"),
    "alpaca-eval": Entry("policy", "alpaca_eval", "AlpacaEval 2: answers for its judge"),
    "arena-hard-v0.1": Entry("policy", "arena_hard_v01", "Arena-Hard v0.1: answers for its judge"),
    "arena-hard-v2": Entry("policy", "arena_hard_v2", "Arena-Hard v2.0: answers for its judge"),
}


def entry(name: str) -> Entry:
    """Look a benchmark up.

    Raises:
        InputError: there is none of this name; the line lists those there are.
    """
    if name not in REGISTRY:
        raise InputError(f"benchmark {name!r} is unknown; {near.advice(name, REGISTRY)}")
    return REGISTRY[name]


def module(name: str) -> "Benchmark":
    """Import a benchmark of either kind.

    Raises:
        InputError: there is none of this name.
    """
    return cast("Benchmark", importlib.import_module(f"{__name__}.{entry(name).module}"))


def of_reward_models(name: str) -> "RewardBenchmark":
    """Import a benchmark of reward models."""
    assert entry(name).kind == "reward_model"
    return cast("RewardBenchmark", module(name))


def of_policies(name: str) -> "CheckedBenchmark | JudgedBenchmark":
    """Import a benchmark of policies."""
    assert entry(name).kind == "policy"
    return cast("CheckedBenchmark | JudgedBenchmark", module(name))
