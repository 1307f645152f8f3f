"""How far our scores are from those of the benchmarks' own code, on random rewards.

    git clone https://github.com/allenai/reward-bench
    git clone https://github.com/THU-KEG/RM-Bench
    python -m bench.formulas reward-bench RM-Bench

Their functions are taken out of their files and run as they are, without what those files import.
Half of the rewards are whole numbers, so that there are many ties. Printed is the largest distance.
"""

import ast
import warnings
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import click
import numpy as np

from mutual_taught.evaluation.benchmarks import rewardbench, rewardbench2, rm_bench
from mutual_taught.evaluation.benchmarks.base import Item

ROUNDS = 300
ASKED = [{"role": "user", "content": "?"}]
RM_BENCH = {"score": "total_avg_acc", **{level: f"{level}_acc" for level in rm_bench.LEVELS}}


class Rows(list[dict[str, Any]]):
    """As much of a data set as their code for Ties touches."""

    column_names: Sequence[str] = ()

    def add_column(self, *_: object) -> "Rows":
        """Leave it as it is."""
        return self


def functions(path: Path, *names: str) -> list[Any]:
    """Take functions, and constants, out of a file without importing what it imports."""
    tree = ast.parse(path.read_text())
    kept = [
        node
        for node in tree.body
        if (isinstance(node, ast.FunctionDef) and node.name in names)
        or (isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) in names)
    ]
    code = "from __future__ import annotations\n" + "\n".join(map(ast.unparse, kept))
    known: dict[str, Any] = {"np": np, "defaultdict": defaultdict, "Dict": dict, "Tuple": tuple}
    exec(compile(code, str(path), "exec"), known)
    return [known[name] for name in names]


def drawn(rng: np.random.Generator, number: int, count: int) -> list[float]:
    """Draw rewards: whole numbers in every second round."""
    whole = rng.integers(-3, 4, count).astype(float)
    return list(map(float, whole if number % 2 else rng.normal(size=count)))


def of_ties(utils: Path) -> float:
    """Compare the score of Ties with `process_single_model`."""
    names = "_compute_prompt_stats", "process_single_model"
    theirs, rng, furthest = functions(utils, *names)[1], np.random.default_rng(0), 0.0
    for number in range(ROUNDS):
        items, scores, rows = [], [], Rows()
        for prompt in range(rng.integers(1, 9)):
            wrong, several = int(rng.integers(1, 20)), int(rng.integers(2, 7))
            for kind, right in (("tied", several), ("ref", 1)):
                name, rewards = f"{kind}:{prompt}", drawn(rng, number, right + wrong)
                labels = [1.0] * right + [0.0] * wrong
                items.append(Item(name, "Ties", ASKED, ["a"] * len(labels), labels))
                scores.append(rewards)
                rows.append({"id": name, "scores": rewards, "num_correct": right})
        with warnings.catch_warnings(action="ignore"):
            expected = float(theirs(rows)[1])
        furthest = max(furthest, abs(rewardbench2.values(items, scores).mean() - expected))
    return furthest


def of_sections(utils: Path, constants: Path) -> float:
    """Compare the sections and the score with `calculate_scores_per_section`."""
    [theirs], rng, furthest = (
        functions(utils, "calculate_scores_per_section"),
        np.random.default_rng(1),
        0.0,
    )
    counts, sections = functions(constants, "EXAMPLE_COUNTS", "SUBSET_MAPPING")
    for number in range(ROUNDS // 10):
        items, scores, right = [], [], defaultdict(list)
        for subset in rewardbench.ITEMS:
            for place in range(rng.integers(1, 9)):
                rewards = drawn(rng, number, 2)
                items.append(Item(f"{subset}:{place}", subset, ASKED, ["a", "b"], (1.0, 0.0)))
                scores.append(rewards)
                right[subset].append(rewards[0] > rewards[1])
        expected = theirs(counts, sections, {name: np.mean(one) for name, one in right.items()})
        actual = rewardbench.parts(items, scores)
        of_all = {rewardbench.SCORE: np.mean(list(expected.values()))}
        of_all |= {name.lower().replace(" ", "_"): one for name, one in expected.items()}
        furthest = max(furthest, *_distances({k: v.value for k, v in actual.items()}, of_all))
    return furthest


def of_levels(utils: Path) -> float:
    """Compare the score, levels and domains of RM-Bench with `compute_accuracy`."""
    names = "split_dataset_by_domain", "compute_accuracy"
    theirs, rng, furthest = functions(utils, *names)[1], np.random.default_rng(2), 0.0
    for number in range(ROUNDS // 10):
        items, scores, rows = [], [], []
        for domain in rm_bench.ITEMS:
            for place in range(rng.integers(1, 20)):
                rewards = drawn(rng, number, 6)
                labels = [1.0] * 3 + [0.0] * 3
                items.append(Item(f"{domain}:{place}", domain, ASKED, list("abcdef"), labels))
                scores.append(rewards)
                row = {"score_chosen": rewards[:3], "score_rejected": rewards[3:]}
                rows.append({**row, "domain": domain})
        with redirect_stdout(StringIO()):  # it speaks
            expected = theirs(rows)
        named = {
            name: expected[RM_BENCH.get(name, name)] for name in (*RM_BENCH, *rm_bench.DOMAINS)
        }
        actual = {name: part.value for name, part in rm_bench.parts(items, scores).items()}
        furthest = max(furthest, *_distances(actual, named))
    return furthest


def _distances(actual: Mapping[str, float], expected: Mapping[str, float]) -> list[float]:
    return [abs(actual[name] - value) for name, value in expected.items()]


@click.command(help=__doc__)
@click.argument("reward_bench", type=click.Path(exists=True, path_type=Path))
@click.argument("rm_bench_clone", type=click.Path(exists=True, path_type=Path))
def main(reward_bench: Path, rm_bench_clone: Path) -> None:
    """Print the largest distance of each."""
    utils, constants = (reward_bench / f"rewardbench/{name}.py" for name in ("utils", "constants"))
    print(f"RewardBench 2, Ties      {of_ties(utils):.1e}")
    print(f"RewardBench, sections    {of_sections(utils, constants):.1e}")
    print(f"RM-Bench, levels         {of_levels(rm_bench_clone / 'scripts/utils.py'):.1e}")


if __name__ == "__main__":
    main()
