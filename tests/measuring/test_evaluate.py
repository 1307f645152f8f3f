"""Benchmarks on real models: rewards, files, resume, comparison, folders from elsewhere."""

import contextlib
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pytest
import torch
from click.testing import CliRunner

from mutual_taught.artifacts import files, tables
from mutual_taught.artifacts.manifests import read_manifest
from mutual_taught.cli import main
from mutual_taught.errors import InputError
from mutual_taught.evaluation.benchmarks import generic_pairs
from mutual_taught.evaluation.benchmarks.base import Metrics
from mutual_taught.measuring import benchmark, evaluate, settings, table
from mutual_taught.measuring.evaluate import EvaluationPlan, Result, Source
from mutual_taught.models import chat
from mutual_taught.models.load import RewardModel, device
from mutual_taught.models.packed.forward import packed_rewards
from mutual_taught.models.packed.rows import Group, share_prefix
from mutual_taught.scoring.local import Local
from mutual_taught.scoring.rewards import Rewards
from tests import project
from tests.measuring import checkpoints

slow = pytest.mark.slow


@pytest.fixture
def values(here: Path) -> Path:
    """Parameters like the tiny preset's, with shards of two prompts."""
    path = here / "values.yaml"
    shutil.copy(project.ROOT / "presets" / "tiny.yaml", path)
    for block in ("score", "engine"):
        project.set_param(path, f"{block}.shard_size", 2)
    return path


def plan(model: Path, data: Path, compare: Path | None = None) -> EvaluationPlan:
    return evaluate.plan(model, ["pairs"], Source(data), Path("found"), compare)


def run(planned: EvaluationPlan, values: Path) -> Result:
    [result] = evaluate.run(planned, settings.read(values, settings.Given(max_length=128)))
    return result


def records(out: Path) -> pa.Table:
    return tables.read(tables.RECORDS.path(out), tables.RECORDS)


@slow
def test_rewards_are_those_of_each_conversation_read_alone(
    reward_folder: Path, reward_model: RewardModel, values: Path
) -> None:
    data = checkpoints.pairs(values.parent, 5)
    result = run(plan(reward_folder, data), values)
    expected = []
    for item in generic_pairs.read([data]):
        rows = [
            chat.scored_tokens(reward_model.tokenizer, item.messages, t) for t in item.responses
        ]
        with torch.inference_mode():
            alone = [
                packed_rewards(reward_model.model, [share_prefix([row])], device()) for row in rows
            ]
        expected.append([float(one[0]) for one in alone])
    found = records(result.out)
    for actual, wanted in zip(found["rewards"].to_pylist(), expected, strict=True):
        assert actual == pytest.approx(wanted, abs=1e-4)
    right = sum(chosen > rejected for chosen, rejected in expected)
    assert result.metrics["accuracy"] == right / 5
    assert json.loads((result.out / "metrics.json").read_text())["accuracy"] == right / 5
    assert tables.provenance(found)["model"] == read_manifest(reward_folder).digest
    assert not list(values.parent.glob(".work/evaluate-pairs/*/"))  # the parts are gone


@slow
def test_an_interrupted_run_leaves_no_result_and_scores_nothing_again(
    reward_folder: Path, values: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned = plan(reward_folder, checkpoints.pairs(values.parent, 6))  # 3 prompts, 2 shards
    asked: list[int] = []
    score = Local.score

    def interrupted(
        self: Local, shards: Mapping[int, Sequence[Group]], seen: object = None
    ) -> Iterator[tuple[int, Rewards]]:
        for number, rewards in score(self, shards):
            asked.append(number)
            yield number, rewards
            if len(asked) == 1:
                raise KeyboardInterrupt

    monkeypatch.setattr(Local, "score", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(planned, values)
    assert not planned.tasks[0].out.exists()
    result = run(planned, values)
    assert asked == [0, 1]
    assert len(records(result.out)) == 6


@slow
def test_a_model_against_itself_differs_by_nothing(reward_folder: Path, values: Path) -> None:
    planned = plan(reward_folder, checkpoints.pairs(values.parent), reward_folder)
    result = run(planned, values)
    found = json.loads((result.out / "metrics.json").read_text())
    assert {found[f"difference.{name}"] for name in ("mean", "ci_lo", "ci_hi")} == {0.0}
    assert found["difference.p"] == 1.0
    assert found["difference.n"] == 2.0  # three pairs of two prompts
    assert result.other == {k: v for k, v in result.metrics.items() if "difference" not in k}
    assert records(result.out).equals(records(result.out / "compared"))


@slow
def test_a_folder_from_elsewhere_is_checked_and_gives_the_same_rewards(
    reward_folder: Path, values: Path
) -> None:
    data = checkpoints.pairs(values.parent)
    inside = records(run(plan(reward_folder, data), values).out)
    shutil.rmtree("found")
    other = values.parent / "elsewhere"
    shutil.copytree(reward_folder, other, ignore=shutil.ignore_patterns("manifest.json"))
    (other / "notes.txt").write_text("mine")
    outside = records(run(plan(other, data), values).out)
    assert outside["rewards"].equals(inside["rewards"])
    assert not (other / "manifest.json").exists()
    [made] = values.parent.glob(".work/models/*")
    assert not (made / "notes.txt").exists()
    weights = next(other.glob("*.safetensors"))
    assert (made / weights.name).samefile(weights)  # a hard link: no second copy of the weights


@slow
def test_a_folder_that_fails_a_check_is_refused_before_anything_is_scored(
    reward_folder: Path, values: Path
) -> None:
    other = values.parent / "elsewhere"
    shutil.copytree(reward_folder, other, ignore=shutil.ignore_patterns("manifest.json", "chat*"))
    config = json.loads((other / "tokenizer_config.json").read_text())
    config.pop("chat_template", None)
    (other / "tokenizer_config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="elsewhere: chat template: none; expected one"):
        run(plan(other, checkpoints.pairs(values.parent)), values)
    assert not list(values.parent.glob(".work/models/*"))
    assert not list(values.parent.glob("found/*"))


@slow
def test_a_conversation_that_does_not_fit_has_no_reward_and_is_an_error(
    reward_folder: Path, values: Path
) -> None:
    rows = [{"prompt": "a", "chosen": "b" * 200, "rejected": "c"}]
    (values.parent / "long.jsonl").write_text(json.dumps(rows[0]) + "\n")
    result = run(plan(reward_folder, values.parent / "long.jsonl"), values)
    assert result.metrics["unscored"] == 1.0
    assert result.metrics["accuracy"] == 0.0
    assert records(result.out)["rewards"].to_pylist()[0][0] is None


@slow
def test_the_command_prints_one_table_with_intervals(reward_folder: Path, values: Path) -> None:
    data = checkpoints.pairs(values.parent)
    words = ["evaluate", reward_folder, "--on", "pairs", "--data", data, "--params", values]
    found = CliRunner().invoke(main, [str(word) for word in (*words, "--out", "found")])
    assert found.exit_code == 0, found.output
    assert "benchmark  metric" in found.output
    assert "pairs: found/pairs" in found.output


def test_a_row_of_the_table_has_the_interval_of_its_number() -> None:
    metrics: Metrics = {
        "accuracy": 0.5,
        "ci_lo": 0.25,
        "ci_hi": 0.75,
        "n": 40.0,
        "ties": 2.0,
        "unscored": 0.0,
        "margin": 0.125,
        "subset.accuracy": 0.6,
        "subset.ci_lo": 0.4,
        "subset.ci_hi": 0.8,
        "subset.n": 10.0,
        "subset.log_loss": 0.7,
    }
    header, first, second, third = table.rows([Result("pairs", metrics, None, Path("x"))])
    # Nothing is compared, and no scorer of lengths stands beside: no column for these.
    assert header == ["benchmark", "metric", "value", "95 % interval", "n", "ties", "unscored"]
    assert first == ["pairs", "accuracy", "0.500", "[0.250, 0.750]", "40", "2", "0"]
    assert second == ["pairs", "margin", "0.125", "–", "–", "–", "–"]
    assert third == ["pairs", "subset.accuracy", "0.600", "[0.400, 0.800]", "10", "–", "–"]


def rows(*values: tuple[str, str, float]) -> pa.Table:
    names, prompts, worth = zip(*values, strict=True)
    empty: list[list[float]] = [[] for _ in values]
    columns = [list(names), [""] * len(names), list(prompts), list(worth), empty, empty]
    return pa.table(columns, schema=tables.RECORDS.schema)


def test_a_difference_pairs_items_by_name_and_resamples_prompts() -> None:
    own = rows(("a", "x", 1.0), ("b", "x", 0.0), ("c", "y", 1.0))
    other = rows(("c", "y", 0.0), ("b", "x", 1.0), ("a", "x", 1.0))  # in another order
    found = benchmark.difference(own, other)
    # a: 0, b: -1, c: 1; prompts x: -0.5 on average, y: 1
    assert found["difference.mean"] == pytest.approx(0.0)
    assert found["difference.n"] == 2.0
    # drawn twice: x, x -> -1/2; x, y -> 0; y, y -> 1
    assert (found["difference.ci_lo"], found["difference.ci_hi"]) == (-0.5, 1.0)


def test_a_difference_of_other_items_is_refused() -> None:
    with pytest.raises(InputError, match="1 and 1 items of other names"):
        benchmark.difference(rows(("a", "x", 1.0)), rows(("b", "x", 1.0)))


def test_results_appear_whole_or_not_at_all(here: Path) -> None:
    files.write_json(here / ".out.part" / "old.json", {})
    with contextlib.suppress(KeyError), evaluate.whole(here / "out") as made:
        files.write_json(made / "metrics.json", {})
        raise KeyError
    assert not list(here.iterdir())
    with evaluate.whole(here / "out") as made:
        files.write_json(made / "metrics.json", {})
    assert [path.name for path in (here / "out").iterdir()] == ["metrics.json"]
