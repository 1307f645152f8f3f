"""Our numbers are those of AlpacaEval's own program on the same files, to 1e-6."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest

from mutual_taught.evaluation.benchmarks import alpaca_eval
from tests.evaluation.benchmarks import written
from tests.evaluation.benchmarks.test_alpaca_eval import PREFERENCES, judged, prompts
from tests.project import ROOT

PYTHON = ROOT / ".venv-alpaca" / "bin" / "python"
NAMES = {
    "win_rate": "win_rate.a-judge.mean",
    "standard_error": "win_rate.a-judge.standard_error",
    "discrete_win_rate": "discrete_win_rate.a-judge.mean",
    "n_total": "win_rate.a-judge.n",
    "n_draws": "win_rate.a-judge.ties",
    "length_controlled_winrate": "lc_win_rate.a-judge.mean",
    "lc_standard_error": "lc_win_rate.a-judge.standard_error",
}


def files(folder: Path, count: int, seed: int) -> tuple[Path, Path, Path]:
    """Write the data set, annotations with draws and gaps, and df_gamed.csv; all of it drawn."""
    rng = np.random.default_rng(seed)
    hard = rng.normal(0, 1.2, count)
    own, other = rng.integers(20, 3000, (2, count))
    logits = (
        rng.normal() + 0.5 * hard - 0.9 * np.tanh((other - own) / 1000) + rng.normal(0, 2, count)
    )
    given: list[float | None] = (1 + 1 / (1 + np.exp(-logits))).tolist()
    for place in range(0, count, 9):
        given[place] = (1.5, 0, None)[place // 9 % 3]
    rows = [
        written.annotation(place, *values)
        for place, values in enumerate(zip(given, own.tolist(), other.tolist(), strict=True))
    ]
    table = [
        row
        | {
            "preference": 1 / (1 + np.exp(-rng.normal(0, 2))),
            "std_delta_len": rng.normal(1 - 2 * (row["model"] == "verbose"), 1),
            "instruction_difficulty": hard[row["index"]],
        }
        for row in written.gamed(count)
    ]
    return (
        written.array(
            folder / "alpaca_eval.json", [{"instruction": r["instruction"]} for r in rows]
        ),
        written.array(folder / "annotations.json", rows),
        written.table(folder / "df_gamed.csv", table),
    )


@pytest.mark.parametrize(("count", "seed"), [(40, 1), (200, 2), (805, 3), (805, 4)])
def test_ours_equals_alpaca_evals_own_function(tmp_path: Path, count: int, seed: int) -> None:
    asked, annotations, gamed = files(tmp_path, count, seed)
    done = subprocess.run(
        [PYTHON, Path(__file__).with_name("theirs.py"), annotations, gamed],
        check=True,
        capture_output=True,
        text=True,
    )
    theirs = json.loads(done.stdout.splitlines()[-1])
    shuffled = np.random.default_rng(seed).permutation(json.loads(annotations.read_text())).tolist()
    written.array(annotations, shuffled)  # theirs joins by place, ours by instruction
    ours = alpaca_eval.metrics_from(alpaca_eval.read([asked]), [annotations, gamed])
    for name, own in NAMES.items():
        assert ours[own] == pytest.approx(theirs[name], abs=1e-6), name


def test_with_the_public_file_length_is_controlled(tmp_path: Path) -> None:
    asked = prompts(tmp_path)
    found = alpaca_eval.metrics_from(asked, [judged(tmp_path, *PREFERENCES)])
    assert "lc_minimal.a-judge.mean" in found
    assert "lc_win_rate.a-judge.mean" not in found
    table = written.table(tmp_path / "df_gamed.csv", written.gamed(6))
    found = alpaca_eval.metrics_from(asked, [judged(tmp_path, *PREFERENCES), table])
    assert "lc_win_rate.a-judge.mean" in found
    assert "lc_minimal.a-judge.mean" not in found


def test_rows_are_joined_by_instruction_not_by_their_place(tmp_path: Path) -> None:
    asked = prompts(tmp_path)
    table = written.table(tmp_path / "df_gamed.csv", written.gamed(6))
    path = judged(tmp_path, *PREFERENCES)
    straight = alpaca_eval.metrics_from(asked, [path, table])
    written.array(path, json.loads(path.read_text())[::-1])
    assert alpaca_eval.metrics_from(asked, [table, path]) == straight


def test_the_baseline_against_itself_has_50_under_length_control(tmp_path: Path) -> None:
    rows = [
        {**written.annotation(place, 1.5), "generator_2": "gpt4_1106_preview"} for place in range(4)
    ]
    path = written.array(tmp_path / "annotations.json", rows)
    table = written.table(tmp_path / "df_gamed.csv", written.gamed(4))
    found = alpaca_eval.metrics_from(prompts(tmp_path, 4), [path, table])
    assert found["lc_win_rate.a-judge.mean"] == found["win_rate.a-judge.mean"] == 50.0
