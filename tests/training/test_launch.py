"""Training in several processes: the numbers of one, and one line when a process fails."""

import importlib.util
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, get_args

import psutil
import pytest
import torch
from datasets import Dataset
from safetensors.torch import load_file

from mutual_taught.artifacts.files import read_json, sha256, write_json
from mutual_taught.config.learning import BaseRewardModel, Lora, Training, TrainRm
from mutual_taught.errors import InputError, TrainingError
from mutual_taught.models.packed.rows import fill
from mutual_taught.training import jobs, launch
from mutual_taught.training.dpo import dataset as policy_data
from mutual_taught.training.loop import Outcome
from mutual_taught.training.packed import shares
from mutual_taught.training.reward import dataset as reward_data
from mutual_taught.training.settings import Recipe
from tests import project
from tests.training.test_loop import DPO, PAIRS, REWARD, TRAINING, reward_rows

ROOT = project.ROOT
ZERO3 = "presets/accelerate/zero3.yaml"
ADAPTERS = Lora(rank=4, alpha=8, targets="all-linear")
TWO = TRAINING.model_copy(update={"launcher": "torchrun", "processes": 2})
SHARDED = TRAINING.model_copy(
    update={"launcher": "accelerate", "processes": 2, "accelerate_config": ZERO3}
)
# Batches of 3 and 1: in the second, one of two processes has no pair.
CHANGES: dict[str, object] = {"batch_size": 3, "epochs": 2}


def job(kind: jobs.Kind, start: Path, training: Training, **changes: object) -> jobs.TrainingJob:
    if kind == "policy":
        settings: Any = DPO.model_copy(update={**CHANGES, **changes})
        return jobs.TrainingJob(kind, start, policy_data(PAIRS), Recipe(settings, training, 1), {})
    optimisation = REWARD.model_copy(update={**CHANGES, **changes}).model_dump()
    # Pairs whose sides are alike are ties that rounding may turn either way.
    rows = [row for row in reward_rows() if row["chosen"] != row["rejected"]]
    if kind == "new_reward_model":
        settings = BaseRewardModel(**optimisation, layers=1)
    else:  # r_0's pairs all count alike; those of r_t may have weights
        settings = TrainRm(**optimisation, start="base", fixed=False, average=0.0)
        rows = [{**row, "weight": 1 / number} for number, row in enumerate(rows, 1)]
    return jobs.TrainingJob(kind, start, reward_data(rows), Recipe(settings, training, 1), {})


def train(made: jobs.TrainingJob, place: Path) -> Outcome:
    place.mkdir(parents=True)
    return launch.train(made, place)


def test_state_of_the_optimiser_goes_with_the_training_and_after_a_kill_in_between(
    policy_folder: Path, here: Path
) -> None:
    made, place = job("policy", policy_folder, TRAINING), here / "place"
    outcome = train(made, place)
    assert not (place / "trainer").exists()
    checkpoint = place / "trainer" / "checkpoint-1"  # as if killed before it was gone
    checkpoint.mkdir(parents=True)
    (checkpoint / "optimizer.pt").touch()
    assert launch.train(made, place) == outcome
    assert not (place / "trainer").exists()
    assert (place / "checkpoints").is_dir()


@pytest.fixture
def starts(policy_folder: Path, reward_folder: Path) -> dict[jobs.Kind, Path]:
    for folder, kind in ((policy_folder, "policy"), (reward_folder, "reward_model")):
        said: dict[str, object] = {
            "kind": kind,
            "base": "tiny",
            "parent": None,
            "made_by": {},
            "files": {},
        }
        if not (folder / "manifest.json").exists():
            write_json(folder / "manifest.json", said)
    return {
        "policy": policy_folder,
        "reward_model": reward_folder,
        "new_reward_model": policy_folder,
    }


def assert_same_curve(found: Outcome, expected: Outcome) -> None:
    assert found.steps == expected.steps
    for ours, theirs in zip(found.curve, expected.curve, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4, abs=1e-5)
        assert ours["loss"] == pytest.approx(theirs["loss"], abs=1e-6)


def test_pairs_are_shared_out_so_that_all_have_about_as_many_tokens() -> None:
    # 9 to the first, 8 to the second, 4 to the second (8 < 9), 3 to the first, 2: both 12, first
    assert shares([2, 9, 3, 8, 4], 2) == [[0, 1, 2], [3, 4]]


def test_one_process_has_all_pairs_in_their_order() -> None:
    assert shares([2, 9, 3, 8, 4], 1) == [[0, 1, 2, 3, 4]]


def test_processes_beyond_the_pairs_have_none() -> None:
    assert shares([5, 5], 3) == [[0], [1], []]


@pytest.mark.parametrize("kind", get_args(jobs.Kind))
def test_process_reads_the_job_that_was_written_for_it(
    starts: dict[jobs.Kind, Path], tmp_path: Path, kind: jobs.Kind
) -> None:
    made = job(kind, starts[kind], TWO)
    jobs.write_job(made, tmp_path)
    found = jobs.read_job(tmp_path)
    assert found._replace(pairs=None) == made._replace(pairs=None)
    assert list(found.pairs) == list(made.pairs)


@pytest.mark.parametrize("adapters", [None, ADAPTERS])
def test_exported_reward_model_is_the_average_with_r_0_and_training_is_as_without(
    starts: dict[jobs.Kind, Path], tmp_path: Path, adapters: Lora | None
) -> None:
    start = starts["reward_model"]
    training = TRAINING.model_copy(update={"lora": adapters})
    plain = job("reward_model", start, training)
    settings = plain.recipe.settings.model_copy(update={"average": 0.25})
    mixed = plain._replace(recipe=plain.recipe._replace(settings=settings), base=start)
    assert train(mixed, tmp_path / "mixed") == train(plain, tmp_path / "plain")
    before, alone, found = (
        load_file(folder / "model.safetensors")
        for folder in (start, tmp_path / "plain" / "model", tmp_path / "mixed" / "model")
    )
    assert any(not torch.equal(alone[name], before[name]) for name in before)
    for name, value in found.items():
        torch.testing.assert_close(value, 0.75 * alone[name] + 0.25 * before[name])
    assert not (tmp_path / "mixed" / "model" / "adapter").exists()


def test_training_that_ended_is_not_made_again(
    starts: dict[jobs.Kind, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # what takes its results may have been interrupted
    made = job("policy", starts["policy"], TRAINING)
    first = train(made, tmp_path / "it")
    monkeypatch.setattr(jobs, "train_here", lambda *_: pytest.fail("trained again"))
    assert launch.train(made, tmp_path / "it") == first


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["policy", "new_reward_model"])
def test_two_processes_have_the_losses_of_one(
    starts: dict[jobs.Kind, Path], tmp_path: Path, kind: jobs.Kind
) -> None:
    alone = train(job(kind, starts[kind], TRAINING), tmp_path / "alone")
    both = train(job(kind, starts[kind], TWO), tmp_path / "both")
    assert_same_curve(both, alone)
    assert [step for step, _ in both.pairs] == [step for step, _ in alone.pairs]
    for (_, ours), (_, theirs) in zip(both.pairs, alone.pairs, strict=True):
        assert sorted(name for name, *_ in ours) == sorted(name for name, *_ in theirs)


@pytest.mark.slow
@pytest.mark.skipif(
    not importlib.util.find_spec("deepspeed"), reason="make test-extras installs it and runs this"
)
@pytest.mark.parametrize(
    ("kind", "adapters", "precision"),
    [
        ("policy", None, "float32"),
        ("reward_model", None, "float32"),
        ("policy", ADAPTERS, "float32"),
        ("reward_model", None, "bfloat16"),
    ],
)
def test_weights_in_shards_have_the_losses_of_one_process(
    starts: dict[jobs.Kind, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: jobs.Kind,
    adapters: Lora | None,
    precision: Any,
) -> None:
    monkeypatch.setenv("DS_ACCELERATOR", "cpu")
    monkeypatch.chdir(ROOT)
    last = Path("checkpoints") / "step-000004" if kind == "policy" else Path("model")
    results = []
    for name, training in (("alone", TRAINING), ("both", SHARDED)):
        changes = {"lora": adapters, "precision": precision}
        asked = job(kind, starts[kind], training.model_copy(update=changes))
        outcome = train(asked, tmp_path / name)
        results.append((outcome, load_file(tmp_path / name / last / "model.safetensors")))
    (alone, expected), (both, found) = results
    if precision == "float32":
        assert_same_curve(both, alone)
    for name in ("loss", "grad_norm"):
        assert both.curve[0][name] == pytest.approx(alone.curve[0][name], rel=1e-5)
    assert sorted(found) == sorted(expected)
    if precision == "float32":
        for name, weight in found.items():
            torch.testing.assert_close(weight, expected[name], atol=1e-5, rtol=1e-3)


def in_shards(made: jobs.TrainingJob, place: Path) -> Outcome:
    """Train under accelerate's FSDP2 in two processes, by the settings of fsdp2.yaml."""
    place.mkdir()
    jobs.write_job(made, place)
    settings = project.load_yaml(ROOT / "presets" / "accelerate" / "fsdp2.yaml")["fsdp_config"]
    said = {name.upper(): str(value) for name, value in settings.items()}
    process = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    ended = subprocess.run(
        [sys.executable, *process, "-m", "tests.training.fsdp2", str(place)],
        cwd=ROOT,
        env={**os.environ, "ACCELERATE_USE_FSDP": "true", **said},
        capture_output=True,
        text=True,
        timeout=1200,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return jobs.read_outcome(place)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "precision"), [("policy", "float32"), ("new_reward_model", "bfloat16")]
)
def test_fsdp2_has_the_losses_gradients_and_weights_of_one_process(
    starts: dict[jobs.Kind, Path], tmp_path: Path, kind: jobs.Kind, precision: Any
) -> None:
    # A budget of 30 tokens: batches of several passes, each of which sums its gradients.
    training = TRAINING.model_copy(update={"precision": precision})
    alone = train(job(kind, starts[kind], training), tmp_path / "alone")
    two = training.model_copy(update={"launcher": "torchrun", "processes": 2})
    both = in_shards(job(kind, starts[kind], two), tmp_path / "both")
    for name in ("loss", "grad_norm"):
        # In bfloat16 the first step's gradients are the same numbers, summed in float32.
        assert both.curve[0][name] == pytest.approx(alone.curve[0][name], rel=2e-6)
    if precision == "float32":
        assert_same_curve(both, alone)
    last = Path("checkpoints") / "step-000004" if kind == "policy" else Path("model")
    weights, expected = (
        load_file(tmp_path / name / last / "model.safetensors") for name in ("both", "alone")
    )
    assert sorted(weights) == sorted(expected)
    assert {weight.dtype for weight in weights.values()} == {torch.float32}
    if precision == "float32":
        for name, weight in weights.items():
            torch.testing.assert_close(weight, expected[name], atol=1e-5, rtol=1e-3)
    if kind != "policy":
        first = [{pair: numbers for pair, *numbers in run.pairs[0][1]} for run in (both, alone)]
        for pair, rewards in first[0].items():
            assert rewards == pytest.approx(first[1][pair], abs=1e-6)
            assert torch.tensor(rewards).bfloat16().tolist() != rewards


@pytest.mark.slow
def test_packed_losses_and_gradients_are_the_same_under_fully_shard(
    starts: dict[jobs.Kind, Path],
) -> None:
    found = subprocess.run(
        [
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--standalone",
            "--nproc_per_node",
            "2",
            "-m",
            "tests.training.sharded",
            str(starts["policy"]),
            str(starts["reward_model"]),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    gaps = dict(re.findall(r"(\w+) differs by (\S+)", found.stdout))
    assert sorted(gaps) == [
        "adapters_gradient",
        "adapters_loss",
        "policy_gradient",
        "policy_loss",
        "reward_gradient",
        "reward_loss",
    ]
    assert all(float(gap) < 1e-6 for gap in gaps.values()), gaps


@pytest.mark.slow
def test_a_loss_that_is_no_number_in_one_process_is_one_line(
    starts: dict[jobs.Kind, Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    made = job("policy", starts["policy"], TWO)
    rows = made.pairs.to_list()
    rows[2]["ref_chosen_logps"] = float("nan")
    with pytest.raises(TrainingError, match=r"^step \d: loss is nan on pairs .*p2"):
        train(made._replace(pairs=Dataset.from_list(rows)), tmp_path / "nan")
    assert "Traceback" not in capfd.readouterr().err


FULL = """
import sys
from pathlib import Path
import torch
from mutual_taught.training import jobs, launch
jobs.read_job = lambda place: None
jobs.train_here = lambda job, place: torch.empty(10**15)
launch.main(Path(sys.argv[1]))
"""


def test_memory_that_is_not_there_in_one_process_is_one_line(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "DVC_STAGE": "dpo@1", "LOCAL_RANK": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    said = read_json(tmp_path / launch.FAILED)["message"]
    assert said.startswith("a process of dpo@1: no memory is left (")
    assert "or lower dpo.token_budget" in said


def test_fewer_processes_than_asked_for_are_refused(
    starts: dict[jobs.Kind, Path], tmp_path: Path
) -> None:
    made = job("policy", starts["policy"], TWO)
    with pytest.raises(InputError) as caught:
        jobs.train_here(made, tmp_path)
    assert str(caught.value).startswith("training.processes is 2; training.launcher torchrun made")


def test_missing_settings_of_accelerate_are_one_line(tmp_path: Path) -> None:
    asked = SHARDED.model_copy(update={"accelerate_config": "no.yaml"})
    with pytest.raises(InputError, match=r"^training.accelerate_config is 'no.yaml'; there is no"):
        launch.command(asked, tmp_path)


KILLED = """
import sys
from pathlib import Path
from mutual_taught.training import jobs, launch
launch.train(jobs.read_job(Path(sys.argv[1])), Path(sys.argv[2]))
"""


@pytest.mark.slow
def test_killed_training_leaves_no_process_and_goes_on_to_the_same_weights(
    starts: dict[jobs.Kind, Path], tmp_path: Path
) -> None:
    made = job("policy", starts["policy"], TWO, epochs=8)
    whole = train(made, tmp_path / "whole")
    asked, place = tmp_path / "asked", tmp_path / "killed"
    place.mkdir()
    asked.mkdir()
    jobs.write_job(made, asked)
    stage = subprocess.Popen([sys.executable, "-c", KILLED, str(asked), str(place)], cwd=ROOT)
    while not list(place.glob("trainer/checkpoint-*/COMPLETE")):
        assert stage.poll() is None
        time.sleep(0.02)
    started = psutil.Process(stage.pid).children(recursive=True)
    os.kill(stage.pid, signal.SIGKILL)
    stage.wait()
    assert len(started) >= 3
    assert psutil.wait_procs(started, timeout=120)[1] == []
    again = launch.train(made, place)
    assert again == whole
    last = Path("checkpoints") / f"step-{whole.steps:06d}" / "model.safetensors"
    assert sha256(place / last) == sha256(tmp_path / "whole" / last)


def test_every_process_makes_as_many_passes() -> None:
    # One long pair and four short ones: 1 pass against 2 under a budget of 10.
    split = [
        list(fill(share, (size for _ in share), 10))
        for share, size in zip(shares([20, 5, 5, 5, 5], 2), (20, 5), strict=True)
    ]
    assert [len(parts) for parts in split] == [1, 2]


def test_a_precision_of_accelerates_is_one_line(
    starts: dict[jobs.Kind, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # as accelerate's launcher sets it where its file has mixed_precision
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    with pytest.raises(InputError) as caught:
        jobs.train_here(job("policy", starts["policy"], TRAINING), tmp_path)
    assert str(caught.value) == (
        "ACCELERATE_MIXED_PRECISION says mixed_precision bf16; expected none, because "
        "training.precision decides; remove it"
    )
