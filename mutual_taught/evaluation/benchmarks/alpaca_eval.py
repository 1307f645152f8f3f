"""Benchmark `alpaca-eval`: AlpacaEval 2: 805 instructions, judged against GPT-4 Turbo."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mutual_taught.errors import InputError
from mutual_taught.evaluation.benchmarks import (
    alpaca_gamed,
    files,
    joined,
    length_controlled,
    preferences,
)
from mutual_taught.evaluation.benchmarks.base import (
    SEED,
    Hub,
    Metrics,
    Prompt,
    Prompts,
)
from mutual_taught.evaluation.benchmarks.files import BadRowError, BenchmarkRow
from mutual_taught.evaluation.benchmarks.length_controlled import DRAWS, Rows, apart
from mutual_taught.method.arrays import Floats
from mutual_taught.method.length_control import lc_minimal
from mutual_taught.method.statistics import bootstrap
from mutual_taught.terminal.signs import excerpt

HUB = Hub(
    "tatsu-lab/alpaca_eval",
    ("alpaca_eval_gpt4_baseline.json",),
    "2edc6fad8be6b14ea7230aabfd08188da6b8b814",
)
EXPECTED = "rows of instruction (text) and, if they are there, dataset; such as alpaca_eval.json"
JUDGED = True
OUTPUTS = "model_outputs.json"
ANNOTATIONS = (
    "the rows of AlpacaEval's annotations.json: instruction, output_1 and output_2 (texts), "
    "generator_1 and generator_2, annotator, preference (1 to 2, 0 for a draw, or null)"
)
JUDGEMENTS = (
    "one annotations.json and, for length control, df_gamed.csv, with or without "
    "instruction_difficulty.csv"
)


class Annotation(NamedTuple):
    """What the judge said of a model's response (the second) and the baseline's (the first)."""

    number: int
    instruction: str
    outputs: tuple[str, str]
    generators: tuple[str, str]
    judge: str
    preference: float


def read(paths: Sequence[Path]) -> Prompts:
    """Read the instructions; a prompt is called by its place among them, from 0.

    Raises:
        InputError: see `files.parsed`; or an instruction occurs twice.
    """
    rows = files.parsed(paths, _instruction, EXPECTED)
    files.require_distinct([text for text, _ in rows], paths)
    return [
        Prompt(f"{place:06d}", part, [{"role": "user", "content": text}])
        for place, (text, part) in enumerate(rows)
    ]


def _instruction(row: BenchmarkRow) -> tuple[str, str]:
    part = row.values.get("dataset")
    return files.text(row, "instruction"), part if isinstance(part, str) else ""


def export(prompts: Prompts, responses: Sequence[str], generator: str, folder: Path) -> list[Path]:
    """Write `model_outputs.json`, which `alpaca_eval --model_outputs` reads: in prompt order."""
    rows = [
        {
            "dataset": prompt.subset,
            "instruction": prompt.messages[0]["content"],
            "output": response,
            "generator": generator,
        }
        for prompt, response in zip(prompts, responses, strict=True)
    ]
    path = folder / OUTPUTS
    path.write_text(json.dumps(rows, ensure_ascii=False, indent=2) + "\n", "utf-8")
    return [path]


def metrics_from(prompts: Prompts, judgements: Sequence[Path]) -> Metrics:
    """Measure what a judge of AlpacaEval's said; the judge's name is in every metric's.

    Args:
        prompts: of `read`: the data set that the responses are to, whole.
        judgements: `annotations.json`; for length control `df_gamed.csv`, too, and if you like
            `instruction_difficulty.csv`, which has to agree with it.

    Raises:
        InputError: a file is not what it must be; an instruction has no row, or several.
    """
    tables = [path for path in judgements if path.suffix == ".csv"]
    others = [path for path in judgements if path.suffix != ".csv"]
    if len(others) != 1:
        raise InputError(f"judgements: {len(others)} files of annotations; expected {JUDGEMENTS}")
    rows = annotations(prompts, others[0])
    if tables:
        length_controlled.require_solver()
    gamed = alpaca_gamed.read(tables, len(prompts)) if tables else None
    found = _rates(rows) | (_minimal(rows) if gamed is None else _controlled(rows, gamed))
    return {
        f"{name}.{excerpt(rows[0].judge)}.{part}": value
        for name, parts in found.items()
        for part, value in parts.items()
    }


def annotations(prompts: Prompts, path: Path) -> list[Annotation]:
    """Read a judge's annotations, one for every prompt, in prompt order.

    Raises:
        InputError: a row is bad, is missing, or there twice; there are several models or judges, or
            no preference at all.
    """
    rows = files.parsed([path], _annotation, ANNOTATIONS)
    several = dict.fromkeys((*row.generators, row.judge) for row in rows)
    if len(several) > 1:
        listed = "; ".join(excerpt(", ".join(names)) for names in several)
        raise InputError(
            f"{path}: baseline, model and judge are {listed}; expected one of each; split the file"
        )
    if all(np.isnan(row.preference) for row in rows):
        raise InputError(f"{path}: no preference in {len(rows)} rows; expected some; judge again")
    named = [joined.Named(row.number, row.instruction) for row in rows]
    names = [str(prompt.messages[0]["content"]) for prompt in prompts]
    return [rows[place] for place in joined.in_order(names, named, path)]


def _annotation(row: BenchmarkRow) -> Annotation:
    outputs = tuple(row.values.get(name) for name in ("output_1", "output_2"))
    if not all(isinstance(text, str) for text in outputs):
        raise BadRowError("output_1 or output_2 is no text; expected both sides' answers")
    return Annotation(
        row.number,
        files.text(row, "instruction"),
        outputs,  # type: ignore[arg-type]
        (files.text(row, "generator_1"), files.text(row, "generator_2")),
        files.text(row, "annotator"),
        _preference(row),
    )


def _preference(row: BenchmarkRow) -> float:
    """Take a preference; 0 is a draw to AlpacaEval, null a response that could not be read."""
    if "preference" not in row.values:
        raise BadRowError("lacks preference; the judge has not spoken")
    value = row.values["preference"]
    if value is None or value != value:
        return float("nan")
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not (value == 0 or 1 <= value <= 2):
        raise BadRowError(f"preference is {excerpt(value)!r}; expected 1 to 2, 0 or null")
    return 1.5 if value == 0 else float(value)


def _rates(rows: Sequence[Annotation]) -> dict[str, Metrics]:
    given = np.array([row.preference for row in rows])
    found, judged = preferences.win_rate(given), given[~np.isnan(given)]
    length, baseline = _lengths(rows)
    return {
        "win_rate": {
            **_interval(judged - 1),
            "standard_error": found.standard_error,
            "ties": float(found.draws),
            "unjudged": float(len(rows) - len(judged)),
        },
        "discrete_win_rate": _interval(0.5 + 0.5 * np.sign(judged - 1.5)),
        "length_chars": {"mean": float(length.mean()), "baseline": float(baseline.mean())},
    }


def _interval(wins: Floats) -> Metrics:
    """Give the mean of wins in percent, with its interval over prompts."""
    mean, low, high, count = bootstrap(100 * wins, SEED)
    return {"mean": mean, "ci_lo": low, "ci_hi": high, "n": float(count)}


def _controlled(rows: Sequence[Annotation], gamed: alpaca_gamed.Gamed) -> dict[str, Metrics]:
    """Control length as AlpacaEval does; the baseline against itself is 50 by definition."""
    first, second = rows[0].generators
    if first == second:
        return {"lc_win_rate": {"mean": 50.0, "ci_lo": 50.0, "ci_hi": 50.0, "standard_error": 0.0}}
    own = Rows(
        np.array([row.preference for row in rows]) - 1, apart(*_lengths(rows)), gamed.difficulty
    )
    found = length_controlled.length_controlled(own, gamed.rows)
    low, high = length_controlled.interval(own, gamed.rows, found.penalty, SEED)
    return {
        "lc_win_rate": {
            "mean": found.win_rate,
            "ci_lo": low,
            "ci_hi": high,
            "n": float(len(rows)),
            "standard_error": found.standard_error,
        }
    }


def _minimal(rows: Sequence[Annotation]) -> dict[str, Metrics]:
    """Control length without the public files, under a name of its own (see `lc_minimal`)."""
    judged = [row for row in rows if not np.isnan(row.preference)]
    wins = np.array([row.preference for row in judged]) - 1
    length, baseline = (part.astype(np.int64) for part in _lengths(judged))
    rng, count = np.random.default_rng(SEED), len(judged)
    draws = [rng.integers(0, count, count) for _ in range(DRAWS)]
    means = [lc_minimal(wins[drawn], length[drawn], baseline[drawn]) for drawn in draws]
    low, high = np.percentile(means, [2.5, 97.5])
    return {
        "lc_minimal": {
            "mean": 100 * lc_minimal(wins, length, baseline),
            "ci_lo": 100 * float(low),
            "ci_hi": 100 * float(high),
            "n": float(count),
        }
    }


def _lengths(rows: Sequence[Annotation]) -> tuple[Floats, Floats]:
    """Count characters of the model's responses and the baseline's, shape (rows,) each."""
    first, second = (np.array([len(row.outputs[side]) for row in rows]) for side in (0, 1))
    return second.astype(np.float64), first.astype(np.float64)
