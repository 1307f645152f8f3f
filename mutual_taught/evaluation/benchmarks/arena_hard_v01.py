"""Benchmark `arena-hard-v0.1`: 500 prompts, against GPT-4 of March 2023."""

from collections.abc import Sequence
from pathlib import Path

from mutual_taught.evaluation.benchmarks import arena_files, arena_hard
from mutual_taught.evaluation.benchmarks.base import Hub, Metrics, Prompts

HUB = Hub(
    "lmarena-ai/arena-hard-auto",
    ("data/arena-hard-v0.1/question.jsonl",),
    "15f3746e21432264ce9b453999bde4f3c946d2e6",
)
EXPECTED = arena_files.QUESTIONS
JUDGED = True
export = arena_files.export
ONLY = "arena-hard-v0.1"
BASELINES = {ONLY: "gpt-4-0314"}


def read(paths: Sequence[Path]) -> Prompts:
    """Read the questions, as `arena_files.read`."""
    return arena_files.read(paths, ONLY)


def metrics_from(prompts: Prompts, judgements: Sequence[Path]) -> Metrics:
    """Measure the model of the first verdict, as `arena_hard.metrics`."""
    return arena_hard.from_files(prompts, judgements, BASELINES, ONLY)
