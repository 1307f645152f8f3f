"""How far our Arena-Hard scores are from those of the benchmark's own code, on made-up verdicts.

    git clone https://github.com/lmarena/arena-hard-auto
    python -m bench.arena_hard arena-hard-auto

Verdicts of three models are drawn, which follow skill and length. Their code reads the same files
as ours. Printed are, for each model, both plain scores, our controlled score, theirs if its fit may
go on, and theirs after its 50 steps; all of them from all verdicts, without resampling.
"""

import importlib
import json
import os
import sys
from collections.abc import Sequence
from contextlib import chdir, redirect_stdout
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import click
import numpy as np

from mutual_taught.evaluation.benchmarks import arena_hard_v2

BENCHMARK, JUDGE, CATEGORY = "arena-hard-v2.0", "gpt-4.1", "hard_prompt"
BASELINE = arena_hard_v2.BASELINES[CATEGORY]
MODELS = {"first": (-0.3, 1.6), "second": (0.4, 0.7), "third": (0.0, 1.0)}  # skill, length
VERDICTS = ("A>>B", "A>B", "A=B", "B>A", "B>>A")
BOUNDS = (1.2, 0.3, -0.3, -1.2)
PROMPTS = 300


class Scores(NamedTuple):
    """Scores by model, in percent."""

    plain: dict[str, float]
    controlled: dict[str, float]
    stopped: dict[str, float]


def write(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write an object a line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def responses(folder: Path, model: str, length: float, rng: np.random.Generator) -> list[int]:
    """Draw the style of a model's responses; give their lengths."""
    tokens = [int(one * length) for one in rng.integers(10, 600, PROMPTS)]
    rows = [
        {
            "uid": f"u{place}",
            "model": model,
            "messages": [{"role": "assistant", "content": {"answer": ""}}],
            "metadata": {
                "token_len": count,
                "header_count": {"h1": int(rng.integers(0, 3))},
                "list_count": {"ordered": int(rng.integers(0, 9)), "unordered": 1},
                "bold_count": {"**": int(rng.integers(0, 5))},
            },
        }
        for place, count in enumerate(tokens)
    ]
    write(folder / "data" / BENCHMARK / "model_answer" / f"{model}.jsonl", rows)
    return tokens


def verdict(difference: float) -> str:
    """Say a verdict on A, which is better by so much."""
    return VERDICTS[sum(difference < bound for bound in BOUNDS)]


def files(folder: Path) -> None:
    """Draw questions, responses and verdicts, some of them missing."""
    rng = np.random.default_rng(5)
    data = folder / "data" / BENCHMARK
    asked = [{"uid": f"u{n}", "category": CATEGORY, "prompt": f"{n}?"} for n in range(PROMPTS)]
    write(data / "question.jsonl", asked)
    base = responses(folder, BASELINE, 1.0, rng)
    for model, (skill, length) in MODELS.items():
        own, rows = responses(folder, model, length, rng), []
        for place, (one, other) in enumerate(zip(own, base, strict=True)):
            better = skill + 0.8 * (one - other) / (one + other)
            games: list[dict[str, str] | None] = [
                {"score": verdict(sign * better + rng.normal(0, 0.8))} for sign in (-1, 1)
            ]
            if rng.random() < 0.04:
                games[int(rng.integers(0, 2))] = None
            named = {"uid": f"u{place}", "category": CATEGORY, "judge": JUDGE, "model": model}
            rows.append({**named, "baseline": BASELINE, "games": games})
        write(data / "model_judgment" / JUDGE / f"{model}.jsonl", rows)


def ours(folder: Path) -> Scores:
    """Measure each model, with the others beside it."""
    data, plain, controlled = folder / "data" / BENCHMARK, {}, {}
    prompts = arena_hard_v2.read([data / "question.jsonl"])
    for model in MODELS:
        first = [model, *(other for other in MODELS if other != model)]
        judged = [data / "model_judgment" / JUDGE / f"{name}.jsonl" for name in first]
        styles = sorted((data / "model_answer").glob("*.jsonl"))
        found = arena_hard_v2.metrics_from(prompts, [*judged, *styles])
        plain[model] = found[f"score.{CATEGORY}.{JUDGE}.mean"] or 0.0
        controlled[model] = found[f"style_controlled.{CATEGORY}.{JUDGE}.mean"] or 0.0
    return Scores(plain, controlled, {})


def theirs(clone: Path, folder: Path) -> Scores:
    """Run the clone's code on the files."""
    sys.path.insert(0, str(clone.resolve()))
    os.environ.setdefault("TQDM_DISABLE", "1")
    shown: Any = importlib.import_module("show_result")
    math = importlib.import_module("utils.math_utils")
    kept: list[Any] = []

    def keep(*args: Any, **named: Any) -> Any:
        kept.append(args)
        return resampled(*args, **named)

    resampled, shown.bootstrap_pairwise_model = shown.bootstrap_pairwise_model, keep
    with chdir(folder), redirect_stdout(StringIO()):
        battles = shown.load_judgments([JUDGE], BENCHMARK)
        plain = 100 * battles.groupby("model").scores.mean().astype(float)
        shown.print_leaderboard_with_style_features(
            battles, BENCHMARK, CATEGORY, ["length", "markdown"]
        )
    fits = [math.fit_pairwise_model(*kept[0], lr=1.0, max_epochs=500)[0]]
    fits.append(math.fit_pairwise_model(*kept[0])[0])
    return Scores(plain.to_dict(), *(_scores(one.numpy()) for one in fits))


def _scores(weights: Any) -> dict[str, float]:
    """Read scores off their weights: one of each model, by name, then those of style."""
    names = sorted([*MODELS, BASELINE])
    own = dict(zip(names, weights, strict=False))
    return {name: float(100 / (1 + np.exp(own[BASELINE] - own[name]))) for name in MODELS}


@click.command(help=__doc__)
@click.argument("clone", type=click.Path(exists=True, file_okay=False, path_type=Path))
def main(clone: Path) -> None:
    """Print the scores side by side."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        files(folder)
        own, other = ours(folder), theirs(clone, folder)
    print("model    plain: ours  theirs     controlled: ours  theirs  theirs, 50 steps")
    for model in MODELS:
        plain = f"{own.plain[model]:11.4f} {other.plain[model]:8.4f}"
        controlled = f"{own.controlled[model]:20.4f} {other.controlled[model]:7.4f}"
        print(f"{model:8} {plain} {controlled} {other.stopped[model]:8.4f}")


if __name__ == "__main__":
    main()
