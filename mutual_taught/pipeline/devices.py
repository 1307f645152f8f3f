"""Runs beside each other on one machine's GPUs: each stage takes its own, by a lock.

DVC gives the workers of a queue no devices: all would compute on the first one. Only runs in a copy
of the workspace (`--temp`, `--queue`) take devices; in the workspace itself nothing runs beside.
NVIDIA's only; `MUTUAL_TAUGHT_DEVICES=a,b` names others, or fewer.
"""

import fcntl
import itertools
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import quote

from mutual_taught.config import blocks, learning, params
from mutual_taught.errors import InputError
from mutual_taught.pipeline import work
from mutual_taught.terminal import process

OURS, CUDA = "MUTUAL_TAUGHT_DEVICES", "CUDA_VISIBLE_DEVICES"
HIDDEN = {"", "-1", "NoDevFiles"}  # CUDA sees no device from such a name on
WITHOUT_MODEL = {"prepare_prompts", "select_policy", "build_pairs", "report"}
TRAINING = {"prepare_reward_model", "dpo", "train_rm"}
ALONE = {"prepare_policy", "rank_pairs"}  # one process, whatever the engine
PATIENCE = 1.0  # seconds between one look for a free device and the next
REMINDER = 60.0  # seconds between one line about the wait and the next


@contextmanager
def lent() -> Iterator[None]:
    """Show a stage the devices it may use, and keep them from other runs until it ends."""
    stage = process.stage() or ""
    pool = names(os.environ) if stage and work.apart() else []
    count, because = needed(stage.partition("@")[0]) if pool else (0, "")
    if count > len(pool):
        raise InputError(
            f"{because} is {count}, and {stage} needs as many GPUs; there are {len(pool)}: "
            f"{', '.join(pool)}; set it to {len(pool)} or fewer, or show more in {OURS}"
        )
    with ExitStack() as held:
        if count:
            os.environ[CUDA] = ",".join(_wait(stage, pool, count, held))
        yield


def names(environment: Mapping[str, str]) -> list[str]:
    """List the devices that runs share, by the names that CUDA takes: numbers or UUIDs."""
    visible = environment.get(OURS, environment.get(CUDA))
    if visible is None:
        return _listed()
    found: list[str] = []
    for name in map(str.strip, visible.split(",")):
        if name in HIDDEN:
            break
        if name not in found:
            found.append(name)
    return found


def _listed() -> list[str]:
    """Ask the driver's own tool, which is on the path wherever the driver is."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    done = subprocess.run([tool, "-L"], capture_output=True, text=True, check=False)
    return uuids(done.stdout) if done.returncode == 0 else []


def uuids(listing: str) -> list[str]:
    """Read `nvidia-smi -L`: a GPU each, or the parts that it is cut into (MIG) in its place."""
    found: list[str] = []
    whole = ""
    for line in listing.splitlines():
        if match := re.search(r"\(UUID: ([^)]+)\)", line):
            if line.startswith("GPU "):
                whole = match[1]
            elif whole in found:
                found.remove(whole)
            found.append(match[1])
    return found


def needed(stage: str) -> tuple[int, str]:
    """Count the devices a stage computes on.

    Args:
        stage: its name, without the iteration.

    Returns:
        The number, and the parameter that says so. 0: no model, or Ray hands out devices.
    """
    if stage in WITHOUT_MODEL:
        return 0, ""
    if stage in TRAINING:
        return params.load(learning.Training).processes, "training.processes"
    engine = params.load(blocks.Engine)
    if stage in ALONE:
        return 1, ""
    if engine.workers == "ray":
        return 0, ""
    shares = engine.name == "vllm" and stage != "score"
    return (engine.tensor_parallel if shares else 1), "engine.tensor_parallel"


def _wait(stage: str, pool: list[str], count: int, held: ExitStack) -> list[str]:
    """Take the first free devices; say so once a minute while there are too few."""
    home = work.root() / "devices"
    home.mkdir(parents=True, exist_ok=True)
    reminded = float("-inf")
    while len(taken := _take(home, pool, count, held)) < count:
        if time.monotonic() - reminded >= REMINDER:
            reminded = time.monotonic()
            process.say(
                f"{stage} waits for {count} free of {len(pool)} GPUs; other runs have the rest"
            )
        time.sleep(PATIENCE)
    return taken


def _take(home: Path, pool: list[str], count: int, held: ExitStack) -> list[str]:
    """Lock as many devices as are wanted, or none: two that wait never hold half each."""
    with ExitStack() as tried, (home / "lock").open("w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        free = (name for name in pool if _lock(home / f"{quote(name, safe='')}.lock", tried))
        taken = list(itertools.islice(free, count))
        if len(taken) == count:
            held.enter_context(tried.pop_all())
    return taken


def _lock(path: Path, held: ExitStack) -> bool:
    """Lock a file if nobody has; the system gives it back when this process ends, however."""
    file = held.enter_context(path.open("w"))
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
