"""Two shards at a time on a CPU: a small model's products do not keep all its threads busy."""

import copy
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from threading import Barrier, Event, Lock
from typing import TypeVar

import torch
from torch import nn

from mutual_taught.models.load import device
from mutual_taught.models.packed.attention import read_apart

MOST = 2  # shards at a time; each takes memory of its own
Model = TypeVar("Model", bound=nn.Module)
Item = TypeVar("Item")
Found = TypeVar("Found")
Told = TypeVar("Told")
Work = Callable[[Model, Item, Callable[[Told], object]], Found]


class StoppedError(Exception):
    """Work that is no longer wanted."""


def shares(threads: int) -> tuple[int, int]:
    """Say how many shards to compute at a time, and with how many threads each.

    It depends on nothing else, so that a shard is computed alike whichever others are: sums over
    another number of threads may round otherwise.
    """
    count = min(MOST, threads) if device().type == "cpu" else 1
    return count, threads // count


def side_by_side(
    model: Model,
    items: Mapping[int, Item],
    work: "Work[Model, Item, Told, Found]",
    seen: Callable[[Told], object],
) -> Iterator[tuple[int, Found]]:
    """Compute items with a model, several at a time where that is faster.

    Threads share the weights. What else a model holds, such as the rotary frequencies of the last
    length, each has for itself.

    Args:
        model: in evaluation mode; nothing changes its weights meanwhile.
        items: what to compute, by number.
        work: computes an item; calls what it is given as often as it can, which may raise there.
        seen: is told what `work` says, one at a time.

    Returns:
        The number of each item and what was found, in the order in which they are ready.
    """
    before = torch.get_num_threads()
    count, each = shares(before)
    if count == 1:
        for number, item in items.items():
            yield number, work(model, item, seen)
        return
    count = min(count, len(items))
    models, ready, stop, lock = (
        [_twin(model) for _ in range(count)],
        Barrier(count),
        Event(),
        Lock(),
    )

    def begin() -> None:
        torch.set_num_threads(each)  # of this thread
        read_apart()
        ready.wait()

    def tell(told: Told) -> None:
        with lock:
            if stop.is_set():
                raise StoppedError
            seen(told)

    def compute(item: Item) -> Found:
        own = models.pop()
        try:
            return work(own, item, tell)
        finally:
            models.append(own)

    pool = ThreadPoolExecutor(count, "shard", begin)
    try:
        asked = {pool.submit(compute, item): number for number, item in items.items()}
        for done in as_completed(asked):
            yield asked[done], done.result()
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(before)  # what threads to come begin with


def _twin(model: Model) -> Model:
    """Copy a model but for its weights."""
    return copy.deepcopy(model, {id(weight): weight for weight in model.parameters()})
