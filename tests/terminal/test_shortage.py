"""What is said where a machine has no more to give, and that its advice can be followed."""

import ast
import errno
import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from ruamel.yaml import YAML

from mutual_taught.config import blocks, learning
from mutual_taught.errors import InputError, ShortageError
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


def of_a_mapped_file() -> None:
    raise RuntimeError("unable to mmap 1024 bytes from file <x>: Cannot allocate memory (12)")


def of_rust() -> None:
    raise Exception("Cannot allocate memory (os error 12)")


def of_cpp() -> None:
    raise RuntimeError("std::bad_alloc")


FULL = [of_torch, of_numpy, of_arrow, of_a_gpu, of_cublas]
FULL += [of_the_system, of_a_mapped_file, of_rust, of_cpp]


@pytest.mark.parametrize("fill", FULL, ids=lambda fill: fill.__name__)
def test_memory(fill: Callable[[], None]) -> None:
    with pytest.raises(ShortageError) as caught, shortage.as_ours("train_rm@2"):
        fill()
    said = str(caught.value)
    assert said.startswith("train_rm@2: no memory is left (")
    assert said.endswith(
        "; expected room for its largest batch; stop what else uses it, or lower "
        "train_rm.token_budget, or set training.gradient_checkpointing"
    )
    assert "\n" not in said


OTHERS = [
    (BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN)), "no process or thread"),
    (RuntimeError("can't start new thread"), "no process or thread"),
    (OSError(errno.EMFILE, "Too many open files", "x"), "no more files can be opened ("),
    (OSError(errno.ENFILE, "Too many open files"), "no more files can be opened on this machine"),
    (RuntimeError("unable to open file <x>: Too many open files (24)"), "no more files can be"),
]


@pytest.mark.parametrize(("error", "begin"), OTHERS, ids=lambda value: type(value).__name__)
def test_processes_and_files(error: Exception, begin: str) -> None:
    assert str(shortage.told(error, "sample@1")).startswith(f"sample@1: {begin}")


def would_block() -> BlockingIOError:
    """What a stream raises that would have to wait: its number is a fork's, its text is not."""
    return BlockingIOError(errno.EAGAIN, "write could not complete without blocking", 5)


LEFT = [
    ValueError("out of memory"),
    RuntimeError("x"),
    OSError(5, "x"),
    would_block(),
    BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN), "a lock"),
    InputError("row 7: out of memory"),
]


@pytest.mark.parametrize("error", LEFT, ids=lambda error: type(error).__name__)
def test_other_errors_are_left_alone(error: Exception) -> None:
    with pytest.raises(type(error)) as caught, shortage.as_ours("sample@1"):
        raise error
    assert caught.value is error


def test_where_nothing_can_be_lowered_and_nothing_is_said() -> None:
    assert shortage.told(MemoryError(), "run") == (
        "run: no memory is left (MemoryError); expected some to work with; stop what else uses it"
    )


@pytest.mark.parametrize("stage", sorted(set(shortage.LOWER) - {"evaluate"}))
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
    monkeypatch.setattr(shortage, "GROUP", tmp_path / "cgroup")
    monkeypatch.setattr(shortage, "GROUPS", tmp_path)
    assert shortage.kills() == 0
    (tmp_path / "vmstat").write_text("nr_unstable 0\noom_kill 3\noom_kill_x 9\n")
    assert shortage.kills() == 3
    (tmp_path / "cgroup").write_text("0::/own.slice\n")
    assert shortage.kills() == 3
    (tmp_path / "own.slice").mkdir()
    (tmp_path / "own.slice" / "memory.events").write_text("oom 2\noom_kill 1\n")
    assert shortage.kills() == 1
    assert _memory("dpo@1", 0) == ""
    assert _memory("score@1", 1).endswith("stop what else uses it, or lower score.token_budget")
