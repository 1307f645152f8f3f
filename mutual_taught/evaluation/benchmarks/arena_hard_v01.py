"""Benchmark `arena-hard-v0.1`: 500 prompts, against GPT-4 of March 2023."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from mutual_taught.evaluation.benchmarks import arena_files, arena_hard
from mutual_taught.evaluation.benchmarks.base import Hub, Metrics, Prompts
from mutual_taught.evaluation.benchmarks.unjudged import length_records, lengths

HUB = Hub(
    "lmarena-ai/arena-hard-auto",
    ("data/arena-hard-v0.1/question.jsonl",),
    "15f3746e21432264ce9b453999bde4f3c946d2e6",
)
EXPECTED = arena_files.QUESTIONS
JUDGED = True
ONLY = "arena-hard-v0.1"
BASELINES = {ONLY: "gpt-4-0314"}


def read(paths: Sequence[Path]) -> Prompts:
    """Read the questions, as `arena_files.read`."""
    return arena_files.read(paths, ONLY)


def export(prompts: Prompts, responses: Sequence[str], generator: str, folder: Path) -> list[Path]:
    """Write the answers for `gen_judgment.py`, as `arena_files.export`."""
    return arena_files.export(prompts, responses, generator, folder)


def metrics_from(prompts: Prompts, judgements: Sequence[Path]) -> Metrics:
    """Measure the model of the first verdict, as `arena_hard.metrics`."""
    return arena_hard.from_files(prompts, judgements, BASELINES, ONLY)


def metrics(prompts: Prompts, responses: Sequence[str]) -> Metrics:
    """Give what needs no judge, as `unjudged.lengths`."""
    return lengths(responses)


def records(prompts: Prompts, responses: Sequence[str]) -> pa.Table:
    """Give what is known of each response without a judge, as `unjudged.length_records`."""
    return length_records(prompts, responses)
