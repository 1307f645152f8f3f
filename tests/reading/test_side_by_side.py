"""Several runs on one page: paired differences, seeds, and what differs."""

import shutil
from pathlib import Path

import pyarrow as pa
import pytest
from click.testing import CliRunner

from mutual_taught.cli import main
from mutual_taught.reading import compare, side_by_side
from mutual_taught.reading.runs import ComparedRun
from mutual_taught.report import page


def run(name: str, seed: int, beta: float, golds: list[float], summary: float) -> ComparedRun:
    """A run whose eval responses have these golds, one response a prompt."""
    size = len(golds)
    generations = pa.table(
        {
            "prompt_id": [f"p{place}" for place in range(size)],
            "response_index": [0] * size,
            "length_tokens": [5] * size,
            "gold": golds,
            "passed": [gold == 1 for gold in golds],
            "reward_r0": golds,
        }
    )
    return ComparedRun(name, {"seed": seed, "dpo": {"beta": beta}}, {"gold": summary}, generations)


RUNS = (
    run("base-s1", 1, 0.1, [0.0, 0.5], 0.5),
    run("base-s2", 2, 0.1, [0.5, 0.5], 0.7),
    run("wide-s1", 1, 0.2, [0.5, 1.0], 0.6),
    run("wide-s2", 2, 0.2, [0.5, 0.5], 0.9),
)


def test_seeds_are_compared_seed_by_seed() -> None:
    base, wide = compare.pooled(RUNS, "base-s1")
    gold, *_ = side_by_side.differences(wide, base)
    assert gold.name == "gold"
    # Seed 1: 0.5, 0.5; seed 2: 0, 0. Mean 0.25, of prompt p0 and p1 alike.
    assert gold.difference == (0.25, 0.25, 0.25, 2)
    assert (gold.before.mean, gold.after.mean) == (0.375, 0.625)


def test_two_runs_are_compared_whatever_their_seeds() -> None:
    base, other = compare.single([RUNS[0], RUNS[3]], "base-s1")
    assert side_by_side.differences(other, base)[0].difference.mean == 0.25  # 0.5, 0


def test_run_without_responses_has_no_difference() -> None:
    bare = RUNS[3]._replace(generations=None)
    base, other = compare.single([RUNS[0], bare], "base-s1")
    assert side_by_side.differences(other, base) == []


def test_page_over_seeds_has_means_with_intervals() -> None:
    single, pooled = (made(RUNS, "base-s1") for made in (compare.single, compare.pooled))
    found = {one.id: one for one in side_by_side.sections(single, pooled, [])}
    assert list(found) == ["story", "parameters", "differences", "pictures", "seeds", "glossary"]
    # 0.6 and 0.9: sd 0.2121, error 0.15, 12.706 times that
    assert found["seeds"].tables[0].rows == [
        ["gold", "0.600 [-0.671, 1.871]", "0.750 [-1.156, 2.656]"]
    ]
    [line] = found["story"].lines
    assert line.startswith(
        "wide: gold did not change clearly: +0.250 [0.250, 0.250] against base on the"
    )
    parameters = {row[0]: row[1:] for row in found["parameters"].tables[0].rows}
    assert parameters["dpo.beta"] == ["0.1", "0.2"]


def test_without_seeds_there_is_no_section_of_them() -> None:
    pair = (RUNS[0], RUNS[2])
    single, pooled = (made(pair, "base-s1") for made in (compare.single, compare.pooled))
    ids = [one.id for one in side_by_side.sections(single, pooled, ["a note"])]
    assert ids == ["story", "parameters", "differences", "pictures", "glossary"]


@pytest.mark.parametrize(("count", "quantile"), [(2, 12.706), (31, 2.042), (41, 1.96)])
def test_interval_over_seeds_is_students(count: int, quantile: float) -> None:
    values = [0.0, 1.0] * (count // 2) + [0.5] * (count % 2)
    found = compare.over_seeds(values)
    error = (sum((value - 0.5) ** 2 for value in values) / (count - 1) / count) ** 0.5
    assert found.mean == pytest.approx(0.5)
    assert found.ci_hi - found.mean == pytest.approx(quantile * error)
    assert found.n == count


def test_names_of_runs_are_escaped() -> None:
    pair = [RUNS[0], RUNS[2]._replace(name="<b>x</b>")]
    rows = compare.single(pair, "base-s1")
    text = page.render("a", side_by_side.sections(rows, rows, []))
    assert "<b>" not in text
    assert "&lt;b&gt;x" in text


def test_command_writes_the_page_beside_the_run(
    finished: Path, stopped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, source in (("plain", finished), ("other", stopped)):
        shutil.copytree(source.parent, tmp_path / name, symlinks=True)
    monkeypatch.chdir(tmp_path)
    arguments = ["report", "--compare", "plain", "other", "--run", "plain/run"]
    done = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert done.output.endswith("written: plain/run/comparison.html\n")
    text = (tmp_path / "plain" / "run" / "comparison.html").read_text("utf-8")
    assert "Mutual-Taught, 2 runs compared with plain" in text
    assert "select_policy.win_rate_threshold" in text


def story_of(*runs: ComparedRun) -> list[str]:
    rows = compare.single(runs, runs[0].name)
    return list(side_by_side.sections(rows, rows, [])[0].lines)


def test_one_run_has_nothing_to_be_compared_with() -> None:
    assert story_of(RUNS[0]) == ["Nothing to compare: there is only base-s1."]


def test_run_without_a_prompt_of_the_baseline_is_said_to_have_none() -> None:
    assert story_of(RUNS[0], RUNS[2]._replace(generations=None)) == [
        f"{RUNS[2].name}: no answer to a prompt that base-s1 answered too, so no difference."
    ]


def test_number_of_a_summary_that_is_none_is_one_line(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(finished.parent, tmp_path / "plain", symlinks=True)
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "plain" / "run" / "2" / "metrics" / "summary.json"
    path.unlink()
    path.write_text('{"gold": NaN}')
    done = CliRunner().invoke(main, ["report", "--compare", "plain"])
    line = "plain/run/2/metrics/summary.json: gold is nan; expected numbers; run dvc repro"
    assert (done.exit_code, done.output) == (1, f"Error: {line}\n")


@pytest.mark.parametrize(
    ("model", "rewards"),
    [
        ({"source": "hub", "path": "a"}, True),
        ({"source": "hub", "path": "b"}, False),
        ({"source": "trained", "path": "a"}, False),
    ],
)
def test_rewards_are_compared_where_r_0_is_the_same(model: dict[str, str], rewards: bool) -> None:
    first, *_, other = RUNS  # of seeds 1 and 2
    given = {"source": "hub", "path": "a"}
    pair = [
        first._replace(values={"seed": 1, "models": {"reward_model": given}}),
        other._replace(values={"seed": 2, "models": {"reward_model": model}}),
    ]
    base, row = compare.single(pair, first.name)
    names = [change.name for change in side_by_side.differences(row, base)]
    assert ("mean reward, r_0" in names) == rewards
    assert "gold" in names
