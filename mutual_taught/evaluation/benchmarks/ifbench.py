"""Benchmark `ifbench`: IFBench, 300 prompts with 58 kinds of instruction that programs check."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from mutual_taught.evaluation.benchmarks import following
from mutual_taught.evaluation.benchmarks.base import Hub, Metrics, Prompts, prompt_table

HUB = Hub("allenai/IFBench_test", ("data/*.parquet",), "2e8a48de45ff3bf41242f927254ca81b59ca3ae2")
EXPECTED = following.EXPECTED
JUDGED = False


def read(paths: Sequence[Path]) -> Prompts:
    """Read the prompts, as `following.read`."""
    return following.read(paths, "ifbench")


def metrics(prompts: Prompts, responses: Sequence[str]) -> Metrics:
    """Give strict and loose rates of prompts and instructions, as `following.metrics`.

    The number that its authors report is `prompt_loose.mean`.

    Source: Pyatkin et al., 2025 (arXiv 2507.02833).
    """
    return following.metrics(following.followed(prompts, responses, "ifbench"))


def records(prompts: Prompts, responses: Sequence[str]) -> pa.Table:
    """Say of each prompt whether its response follows all instructions, read loosely."""
    found = following.followed(prompts, responses, "ifbench")
    return prompt_table(prompts, [float(all(one.loose)) for one in found])
