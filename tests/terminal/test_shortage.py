"""What is said where a machine has no more to give, and that its advice can be followed."""

import ast
import errno
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from ruamel.yaml import YAML

from mutual_taught.config import blocks, learning
from mutual_taught.running.repro import _memory
from mutual_taught.terminal import shortage
from tests.project import ROOT


def of_torch() -> None:
    torch.empty(10**15)


def of_numpy() -> None:
    np.empty(10**16)


def of_arrow() -> None:
    pa.allocate_buffer(10**17)


def of_a_gpu() -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a")


def of_cublas() -> None:
    raise RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`")


def of_the_system() -> None:
    raise OSError(errno.ENOMEM, "Cannot allocate memory")


@pytest.mark.parametrize(
    "fill", [of_torch, of_numpy, of_arrow, of_a_gpu, of_cublas, of_the_system], ids=str
)
def test_memory(fill: Callable[[], None]) -> None:
    with pytest.raises((RuntimeError, OSError, MemoryError)) as caught:
        fill()
    said = shortage.told(caught.value, "train_rm@2")
    assert said is not None
    assert said.startswith("train_rm@2: no memory is left (")
    assert said.endswith(
        "; expected room for its largest batch; stop what else uses it, or lower "
        "train_rm.token_budget, or set training.gradient_checkpointing"
    )
    assert "\n" not in said


OTHERS = [
    (BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"), "no process or thread"),
    (RuntimeError("can't start new thread"), "no process or thread"),
    (OSError(errno.EMFILE, "Too many open files", "x"), "no more files can be opened"),
]


@pytest.mark.parametrize(("error", "begin"), OTHERS, ids=lambda value: type(value).__name__)
def test_processes_and_files(error: Exception, begin: str) -> None:
    assert str(shortage.told(error, "sample@1")).startswith(f"sample@1: {begin}")


@pytest.mark.parametrize("error", [ValueError("out of memory"), RuntimeError("x"), OSError(5, "x")])
def test_other_errors_are_left_alone(error: Exception) -> None:
    assert shortage.told(error, "sample@1") is None


def test_where_nothing_can_be_lowered_and_nothing_is_said() -> None:
    assert shortage.told(MemoryError(), "run") == (
        "run: no memory is left (MemoryError); expected some to work with; stop what else uses it"
    )


@pytest.mark.parametrize("stage", set(shortage.LOWER) - {"evaluate"})
def test_what_is_to_be_lowered_is_a_param_that_the_stage_reads(stage: str) -> None:
    source = ast.unparse(ast.parse((ROOT / "stages" / f"{stage}.py").read_text()))
    params = YAML(typ="safe").load(ROOT / "presets" / "laptop.yaml")
    kinds = {**vars(blocks), **vars(learning)}
    names = {kind.key: name for name, kind in kinds.items() if hasattr(kind, "key")}
    for block, key in re.findall(r"([a-z_]+)\.([a-z_]+)", shortage.LOWER[stage]):
        assert key in params[block]
        assert re.search(rf"params\.load\(\w+\.{names[block]}\b", source)


def test_processes_killed_for_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shortage, "COUNTS", tmp_path / "vmstat")
    assert shortage.kills() == 0
    (tmp_path / "vmstat").write_text("nr_unstable 0\noom_kill 3\noom_kill_x 9\n")
    assert shortage.kills() == 3
    assert _memory("dpo@1", 0) == ""
    assert _memory("score@1", 1).endswith("stop what else uses it, or lower score.token_budget")
