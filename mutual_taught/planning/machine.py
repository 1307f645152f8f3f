"""What a machine has: devices, memory, disk, and how fast it multiplies."""

import re
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import psutil

from mutual_taught.errors import InputError

GB = 10**9
TRIES = 0.4  # seconds in which a thing is done again and again, to see how fast it goes
LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
GIVEN = re.compile(r"([1-9]\d{0,3})x([1-9]\d{0,3})")
# What is reached of the speed of one large product, and of copying memory; measured of a training
# step and of scoring (docs/training.md), assumed of the rest.
REACHED = 0.6
# A card that --machine names is taken as an A100: its data sheet says 312 TFLOP/s in bfloat16 and
# 2.0 TB/s; 0.4 and 0.6 of these are what good code reaches.
A100 = (312e12 * 0.4 / REACHED, 2.0e12)


class Speed(NamedTuple):
    """Of one device: floating-point operations a second of a large product, bytes read a second."""

    flops: float
    bandwidth: float


class Machine(NamedTuple):
    """A machine. devices: GPUs; 0 if the processor computes. Bytes: None where nobody knows."""

    description: str
    devices: int
    device_memory: int
    host_memory: int | None
    disk: int | None


def here() -> Machine:
    """Look at this machine: its GPUs, its memory and the free disk of this folder."""
    import torch

    disk = shutil.disk_usage(Path.cwd()).free
    host = memory()
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if not count:
        description = f"this processor, {torch.get_num_threads()} threads, {host / GB:.0f} GB"
        return Machine(description, 0, host, host, disk)
    cards = [torch.cuda.get_device_properties(place) for place in range(count)]
    least = min(int(card.total_memory) for card in cards)
    description = (
        f"{count} x {cards[0].name}, {least / GB:.0f} GB each, {host / GB:.0f} GB of the host"
    )
    return Machine(description, count, least, host, disk)


def parse(text: str) -> Machine:
    """Read what is said of another machine: `8x80` has 8 GPUs of 80 GB each.

    Raises:
        InputError: it says something else.
    """
    found = GIVEN.fullmatch(text)
    if found is None:
        raise InputError(
            f"--machine is {text!r}; expected GPUs and GB of each, such as 8x80 or 1x24"
        )
    count, size = int(found[1]), int(found[2])
    return Machine(f"{count} x {size} GB", count, size * GB, None, None)


def memory() -> int:
    """Give the bytes of memory that processes may use: the machine's, or its container's."""
    total = int(psutil.virtual_memory().total)
    for name in LIMITS:
        with suppress(OSError, ValueError):
            total = min(total, int(Path(name).read_text()))
    return total


def speed(machine: Machine, dtype: str) -> Speed:
    """Measure this machine in about a second: a product of matrices, and a copy.

    The best of each counts, because other work may be in the way. A first time counts for nothing:
    threads start in it, and a GPU's libraries.

    Args:
        machine: of `here`.
        dtype: in which products are computed.
    """
    import torch

    from mutual_taught.models.precision import to_compute_in

    where = torch.device("cuda" if machine.devices else "cpu")
    side = 8192 if machine.devices else 1024
    one = torch.ones(side, side, device=where, dtype=to_compute_in(dtype))
    seconds = _best(lambda: one @ one, where.type)
    block = torch.ones(2**28 if machine.devices else 2**26, device=where, dtype=torch.uint8)
    copied = _best(block.clone, where.type)
    return Speed(2 * side**3 / seconds, 2 * block.numel() / copied)


def _best(work: Callable[[], object], kind: str) -> float:
    import torch

    def seconds() -> float:
        start = time.perf_counter()
        work()
        if kind == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - start

    seconds()
    best, begun = seconds(), time.perf_counter()
    while time.perf_counter() - begun < TRIES:
        best = min(best, seconds())
    return best
