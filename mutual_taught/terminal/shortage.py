"""What to say where a machine has no more memory, processes or files to give."""

import errno
import re
from contextlib import suppress
from pathlib import Path

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
# What torch says in a plain RuntimeError, of a processor, of CUDA's own start, and of cuBLAS.
MEMORY = ("can't allocate memory", "not enough memory", "out of memory", "ALLOC_FAILED")
THREAD = "can't start new thread"
FILES = {errno.EMFILE, errno.ENFILE}
COUNTS = Path("/proc/vmstat")  # of Linux; `oom_kill` is since the machine started


def told(error: BaseException, at: str) -> str | None:
    """Give the line of an error that means the machine has no more to give; None for others.

    Args:
        error: what was raised.
        at: the stage, such as `dpo@1`, or the command that ran.
    """
    number = error.errno if isinstance(error, OSError) else None
    said = " ".join(str(error).split()) or type(error).__name__
    if number in FILES:
        return (
            f"{at}: no more files can be opened ({said[:160]}); expected room for some hundred; "
            "raise the limit with ulimit -n"
        )
    if number == errno.EAGAIN or (isinstance(error, RuntimeError) and THREAD in said):
        return (
            f"{at}: no process or thread can be started ({said[:160]}); expected room for some "
            "dozen; stop what else runs, or raise the limit (ulimit -u, pids of a container)"
        )
    full = isinstance(error, RuntimeError) and any(words in said for words in MEMORY)
    if not full and not isinstance(error, MemoryError) and number != errno.ENOMEM:
        return None
    lower = advice(at)
    expected = "room for its largest batch" if lower else "some to work with"
    return (
        f"{at}: no memory is left ({said[:240]}); expected {expected}; "
        f"stop what else uses it{lower}"
    )


def advice(at: str) -> str:
    """Name what to lower where memory ran out: `, or lower ...`, nothing where nothing helps."""
    name = re.split(r"[ .]", at.partition("@")[0])[-1]  # also of python -m stages.dpo
    return f", or lower {LOWER[name]}" if name in LOWER else ""


def kills() -> int:
    """Count the processes that the system has killed because memory ran out; 0 if unknown."""
    with suppress(OSError, ValueError):
        for line in COUNTS.read_text().splitlines():
            name, _, count = line.partition(" ")
            if name == "oom_kill":
                return int(count)
    return 0
