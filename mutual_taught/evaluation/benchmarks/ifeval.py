"""Benchmark `ifeval`: IFEval, 541 prompts with 25 kinds of instruction that programs check."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from mutual_taught.evaluation.benchmarks import following
from mutual_taught.evaluation.benchmarks.base import Hub, Metrics, Prompts, prompt_table

HUB = Hub("google/IFEval", ("ifeval_input_data.jsonl",), "966cd89545d6b6acfd7638bc708b98261ca58e84")
EXPECTED = following.EXPECTED
JUDGED = False


def read(paths: Sequence[Path]) -> Prompts:
    """Read the prompts, as `following.read`."""
    return following.read(paths, "ifeval")


def metrics(prompts: Prompts, responses: Sequence[str]) -> Metrics:
    """Give strict and loose rates of prompts and instructions, as `following.metrics`.

    The number that its authors report is `prompt_strict.mean`.

    Source: Zhou et al., 2023 (arXiv 2311.07911).
    """
    return following.metrics(following.followed(prompts, responses, "ifeval"))


def records(prompts: Prompts, responses: Sequence[str]) -> pa.Table:
    """Say of each prompt whether its response follows all instructions, read strictly."""
    found = following.followed(prompts, responses, "ifeval")
    return prompt_table(prompts, [float(all(one.strict)) for one in found])
