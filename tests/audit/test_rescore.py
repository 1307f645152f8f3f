"""`verify --rescore` finds rewards and log-probs that no table can tell to be wrong."""

import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from mutual_taught.audit.resample import as_made
from mutual_taught.cli import main
from mutual_taught.config import blocks
from mutual_taught.models.precision import fast_dtype
from tests import in_process
from tests.audit.forged import forge
from tests.audit.test_verify_whole import copy, found, say

NEEDS_MODEL = {
    "1/rewards": ["reward"],
    "1/duels": ["reward", "previous_reward"],
    "1/answer_rewards": ["reward", "previous_reward"],
    "1/ranked_pairs": ["reference_chosen_logps", "reference_rejected_logps"],
    "1/eval/generations": ["reward_r0", "reward_rt", "base_logprob"],
    "2/eval/generations": ["reward_previous"],
    "1/eval/rm_scores": ["reward_chosen", "reward_rejected"],
}


@pytest.fixture
def run(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return copy(finished, tmp_path, monkeypatch)


def again(*options: str) -> list[str]:
    result = CliRunner().invoke(main, ["verify", "--no-models", *options])
    return result.output.splitlines()


@pytest.mark.slow
def test_sound_run_scores_the_same_again(run: Path) -> None:
    said = again("--rescore", "all")
    shards = [line for line in said if " of shard " in line]
    assert len(shards) >= 12
    assert all("at most 0 apart" in line for line in shards), shards
    assert not said[-1].startswith("Error")


@pytest.mark.slow
def test_so_many_shards_are_scored_again_as_asked(run: Path) -> None:
    assert sum(" of shard " in line for line in again("--rescore", "3")) == 3


@pytest.mark.slow
def test_altered_rewards_and_log_probs_are_found_by_scoring_again(run: Path) -> None:
    scores = pq.read_table(run / "1" / "eval" / "rm_scores.parquet")
    sets = zip(scores["set"].to_pylist(), scores["reward_model"].to_pylist(), strict=True)
    of_r_t = list(sets).index(("gold_pairs", "rt"))
    for name, columns in NEEDS_MODEL.items():
        for column in columns:
            forge(run, name, column, of_r_t if name.endswith("rm_scores") else 0)
    said = [line for line in again("--rescore", "all") if "expected at most" in line]
    for name in NEEDS_MODEL:
        assert any(line.startswith(f"run/{name}.parquet: ") for line in said), (name, said)


@pytest.mark.slow
def test_altered_log_prob_of_a_draw_is_found_by_drawing_again(run: Path) -> None:
    forge(run, "1/responses", "logprob")
    assert found() == []  # no table tells
    said = [line for line in again("--resample", "all") if "apart" in line]
    assert any(line.startswith("run/1/responses.parquet: shard 0: ") for line in said), said


@pytest.mark.slow
def test_altered_shift_of_reused_answers_is_found_by_scoring_them_under_r_0(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_process.enter(finished, tmp_path, monkeypatch, ["reuse-answers"])
    shutil.rmtree("run/2")
    begin = next(name for name, key, _ in in_process.commands(Path("params.yaml")) if key == "2")
    in_process.run_all(Path("params.yaml"), (begin, "2"))
    place = "run/2/metrics/answer.json: previous_shift of shard 0: 1 numbers, at most "
    said = again("--rescore", "all")
    assert f"{place}0 apart" in said
    assert not said[-1].startswith("Error")
    say("2/metrics/answer.json", previous_shift=9.0)(Path("run"))
    assert found() == []  # no table tells
    assert any(line.startswith(place) and "expected" in line for line in again("--rescore", "all"))


def test_table_that_cannot_be_scored_again_is_one_line(run: Path) -> None:
    (run / "1" / "rewards.parquet").unlink()
    said = again("--rescore", "all")
    assert any("run/1/rewards.parquet does not exist" in line for line in said)
    assert said[-1].startswith("Error: faults found: ")


ENGINE = {
    "name": "transformers",
    "shard_size": 1,
    "batch_size": 1,
    "batch_tokens": None,
    "tensor_parallel": 1,
    "gpu_memory_utilization": 0.9,
    "workers": "local",
}


@pytest.mark.parametrize(
    ("setting", "said", "right"),
    [
        ("auto", "float32", "float32"),
        ("auto", "bfloat16", "bfloat16"),
        ("auto", "x", fast_dtype()),
        ("auto", None, fast_dtype()),
        ("float32", "bfloat16", "float32"),
    ],
)
def test_shards_are_made_again_in_the_format_they_were_made_in(
    setting: str, said: str | None, right: str
) -> None:
    engine = blocks.Engine.model_validate({**ENGINE, "dtype": setting})
    assert as_made(engine, {} if said is None else {"dtype": said}).dtype == right
