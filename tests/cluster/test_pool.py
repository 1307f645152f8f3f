"""What a pool on Ray takes of a cluster, and what it says where there is none."""

import pickle
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from mutual_taught.cluster import Same, Share, Worker, connect
from mutual_taught.config.blocks import Score, Tokens
from mutual_taught.errors import InputError
from mutual_taught.pipeline import work
from mutual_taught.scoring.pool import ScoringJob

TOKENS = Tokens(max_prompt_tokens=200, max_length=400, date=None)
SCORE = Score(dtype="float32", token_budget=200, shard_size=20)


def test_a_worker_takes_a_gpu_where_there_are_some() -> None:
    share = Share.of({"CPU": 128.0, "GPU": 8.0}, 1)
    assert share.fitting([{"CPU": 64.0, "GPU": 8.0}, {"CPU": 3.0, "GPU": 4.0}, {"CPU": 16.0}]) == 11


def test_gpus_that_share_a_model_are_of_one_node() -> None:
    share = Share.of({"CPU": 128.0, "GPU": 8.0}, 4)
    assert share.fitting([{"CPU": 64.0, "GPU": 8.0}, {"CPU": 3.0, "GPU": 4.0}, {"GPU": 2.0}]) == 2
    with pytest.raises(InputError, match=r"its largest node has 2 GPUs .* expected 4 GPUs"):
        share.fitting([{"CPU": 64.0, "GPU": 2.0}])


def test_a_worker_takes_as_many_cores_as_the_stage_has_threads() -> None:
    assert Share(4, 0).fitting([{"CPU": 8.0}, {"CPU": 7.0}, {"memory": 1.0}]) == 3


def test_cluster_whose_nodes_are_too_small_is_one_line() -> None:
    with pytest.raises(InputError) as caught:
        Share(8, 0).fitting([{"CPU": 4.0}, {"CPU": 6.0}])
    assert str(caught.value) == (
        "the Ray cluster: its largest node has 6 cores; expected 8, as many as the stage has "
        "threads; set OMP_NUM_THREADS=6"
    )


def test_ray_that_is_not_installed_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "RAY_ADDRESS",
        "RAY_USAGE_STATS_ENABLED",
        "RAY_BACKEND_LOG_LEVEL",
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER",
    ):
        monkeypatch.setenv(name, "local")  # what connect sets is taken back after the test
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError) as caught:
        connect()
    assert str(caught.value) == (
        "params.yaml: engine.workers is ray, which is not installed; expected the package; "
        "pip install -c constraints.txt -e '.[ray]', or engine.workers: local"
    )


def test_a_worker_with_other_code_refuses_in_one_line(reward_folder: Path) -> None:
    same = Same.here(reward_folder)._replace(code="other")
    worker = Worker(ScoringJob(reward_folder, SCORE, TOKENS), same, torch.get_num_threads(), "")
    assert worker({"number": 0, "shard": pickle.dumps([])})["error"] == (
        f"{socket.gethostname()}, a worker with {reward_folder}: its code is {work.code()}; "
        "expected other, as where the stage runs; share the folder, install the same"
    )


def test_a_worker_whose_model_is_not_there_says_so_in_one_line(reward_folder: Path) -> None:
    gone = reward_folder / "gone"
    worker = Worker(
        ScoringJob(gone, SCORE, TOKENS), Same.here(reward_folder), torch.get_num_threads(), ""
    )
    assert worker({"number": 0, "shard": pickle.dumps([])})["error"] == (
        f"{gone} does not exist; run dvc repro or dvc pull {gone}"
    )


class Filling(NamedTuple):
    """A job for which no memory is left."""

    folder: Path
    gpus: int = 0

    def begin(self) -> Callable[[int, Any], Any]:
        """Fail as torch does."""
        return lambda *_: torch.empty(10**15)


def test_a_worker_without_memory_says_so_in_one_line(reward_folder: Path) -> None:
    stage = "a worker of score@1"
    worker = Worker(
        Filling(reward_folder), Same.here(reward_folder), torch.get_num_threads(), stage
    )
    said = worker({"number": 0, "shard": pickle.dumps([])})["error"]
    assert said.startswith("a worker of score@1: no memory is left (")
    assert said.endswith("or lower score.token_budget")
