"""Benchmark `arena-hard-v2`: 500 hard prompts and 250 of creative writing."""

from collections.abc import Sequence
from pathlib import Path

from mutual_taught.evaluation.benchmarks import arena_files, arena_hard
from mutual_taught.evaluation.benchmarks.base import Hub, Metrics, Prompts

HUB = Hub(
    "lmarena-ai/arena-hard-auto",
    ("data/arena-hard-v2.0/question.jsonl",),
    "15f3746e21432264ce9b453999bde4f3c946d2e6",
)
EXPECTED = arena_files.QUESTIONS
JUDGED = True
export = arena_files.export
BASELINES = {
    "hard_prompt": "o3-mini-2025-01-31",
    "creative_writing": "gemini-2.0-flash-001",
}


def read(paths: Sequence[Path]) -> Prompts:
    """Read the questions, as `arena_files.read`."""
    return arena_files.read(paths)


def metrics_from(prompts: Prompts, judgements: Sequence[Path]) -> Metrics:
    """Measure the model of the first verdict, as `arena_hard.metrics`."""
    return arena_hard.from_files(prompts, judgements, BASELINES)
