"""What to say where a machine has no more memory, processes or files to give."""

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mutual_taught.errors import MutualTaughtError, ShortageError

# Of the stages that compute: what makes their largest pass smaller. Of others: nothing to lower.
DRAWING = "engine.batch_size (vllm: engine.gpu_memory_utilization)"
BOTH = f"{DRAWING}, or score.token_budget"
TRAINING = "or set training.gradient_checkpointing"
LOWER = {
    "prepare_reward_model": f"base_reward_model.token_budget, {TRAINING}",
    "eval_base": BOTH,
    "benchmark_base": BOTH,
    "sample": DRAWING,
    "score": "score.token_budget",
    "rank_pairs": "rank_pairs.token_budget",
    "dpo": f"dpo.token_budget, {TRAINING}",
    "duel": BOTH,
    "answer_previous": DRAWING,
    "answer": BOTH,
    "train_rm": f"train_rm.token_budget, {TRAINING}",
    "eval": BOTH,
    "benchmark": BOTH,
    "evaluate": f"{BOTH} (--params)",  # commands, not stages
}
# What is said where no OSError tells the number: torch of a processor, of CUDA's own start, of
# cuBLAS and of mapped files, and Rust libraries, in any kind of error.
MEMORY = ("can't allocate memory", "not enough memory", "out of memory", "ALLOC_FAILED")
MEMORY_AT_END = ("Cannot allocate memory (12)", "(os error 12)", "std::bad_alloc")
FILES_AT_END = ("Too many open files (24)", "(os error 24)")
THREAD = "can't start new thread"
# Both count what the system killed for memory: the own cgroup, else the machine.
GROUP, GROUPS, COUNTS = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup"), Path("/proc/vmstat")


@contextmanager
def as_ours(at: str) -> Iterator[None]:
    """Make of an error that means the machine has no more to give one of ours, in one line.

    Args:
        at: the stage, such as `dpo@1`, or the command that runs.

    Raises:
        ShortageError: it has not.
    """
    try:
        yield
    except MutualTaughtError:
        raise
    except Exception as error:
        if (line := told(error, at)) is None:
            raise
        raise ShortageError(line) from None


def told(error: Exception, at: str) -> str | None:
    """Give the line of an error that means the machine has no more to give; None for others.

    Args:
        error: what was raised.
        at: the stage or command that ran.
    """
    number = error.errno if isinstance(error, OSError) else None
    said = " ".join(str(error).split()) or type(error).__name__
    if number == errno.ENFILE:
        return (
            f"{at}: no more files can be opened on this machine ({said[:160]}); expected room for "
            "some hundred; stop what else runs, or raise the limit (sysctl fs.file-max)"
        )
    if number == errno.EMFILE or said.endswith(FILES_AT_END):
        return (
            f"{at}: no more files can be opened ({said[:160]}); expected room for some hundred; "
            "raise the limit with ulimit -n"
        )
    if _no_process(error) or (isinstance(error, RuntimeError) and THREAD in said):
        return (
            f"{at}: no process or thread can be started ({said[:160]}); expected room for some "
            "dozen; stop what else runs, or raise the limit (ulimit -u, pids of a container)"
        )
    full = isinstance(error, RuntimeError) and any(words in said for words in MEMORY)
    full = full or isinstance(error, MemoryError) or number == errno.ENOMEM
    if not full and not said.endswith(MEMORY_AT_END):
        return None
    lower = advice(at)
    expected = "room for its largest batch" if lower else "some to work with"
    return (
        f"{at}: no memory is left ({said[:240]}); expected {expected}; "
        f"stop what else uses it{lower}"
    )


def _no_process(error: Exception) -> bool:
    """Tell a fork that is refused from a stream or a lock that would block: both are EAGAIN."""
    if not isinstance(error, OSError) or error.errno != errno.EAGAIN or error.filename is not None:
        return False
    return error.strerror == os.strerror(errno.EAGAIN)  # a stream has a text of its own


def advice(at: str) -> str:
    """Name what to lower where memory ran out: `, or lower ...`, nothing where nothing helps."""
    name = re.split(r"[ .]", at.partition("@")[0])[-1]  # also of python -m stages.dpo
    return f", or lower {LOWER[name]}" if name in LOWER else ""


def kills() -> int:
    """Count the processes that the system has killed because memory ran out; 0 if unknown.

    Those of this process's group where the system counts them so, else all of the machine.
    """
    for path in (*_group(), COUNTS):
        with suppress(OSError, ValueError):
            for line in path.read_text().splitlines():
                name, _, count = line.partition(" ")
                if name == "oom_kill":
                    return int(count)
    return 0


def _group() -> Iterator[Path]:
    with suppress(OSError):
        for line in GROUP.read_text().splitlines():
            if line.startswith("0::/"):  # version 2, which has one group for all
                yield GROUPS / line.removeprefix("0::/") / "memory.events"
