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
    return following.metrics(_followed(prompts, responses))


def records(prompts: Prompts, responses: Sequence[str]) -> pa.Table:
    """Say of each prompt whether its response follows all instructions, read strictly."""
    found = _followed(prompts, responses)
    return prompt_table(prompts, [float(all(one.strict)) for one in found])


def _followed(prompts: Prompts, responses: Sequence[str]) -> list[following.Followed]:
    pairs = zip(prompts, responses, strict=True)
    return [following.followed(*pair, "ifeval") for pair in pairs]


def export(prompts: Prompts, responses: Sequence[str], generator: str, folder: Path) -> list[Path]:
    """Write the responses as the published program reads them, as `following.export`."""
    del generator  # the format has no place for it
    return following.export(prompts, responses, folder)


def metrics_from(prompts: Prompts, judgements: Sequence[Path]) -> Metrics:
    """Refuse: no judge decides.

    Raises:
        InputError: always.
    """
    raise following.refuse_judgements("ifeval")
