"""Two shards at a time on a CPU: a small model's products do not keep all its threads busy."""

import copy
from collections.abc import Callable, Iterator, Mapping
from queue import SimpleQueue
from threading import Barrier, Event, Lock, Thread
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


def two_at_a_time(
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
    models = _twins(model, min(count, len(items)))
    left, ended = iter(items.items()), SimpleQueue[tuple[int, Found] | BaseException]()
    ready, stop, lock = Barrier(len(models)), Event(), Lock()

    def tell(told: Told) -> None:
        with lock:
            if stop.is_set():
                raise StoppedError
            seen(told)

    def compute(own: Model) -> None:
        try:
            torch.set_num_threads(each)  # of this thread
            read_apart()
            ready.wait()  # from here on nobody sets anything
            while not stop.is_set():
                with lock:
                    pair = next(left, None)
                if pair is None:
                    return
                number, item = pair
                ended.put((number, work(own, item, tell)))
        except BaseException as error:
            ended.put(error)

    workers = [Thread(target=compute, args=(one,), name="shard", daemon=True) for one in models]
    try:
        for worker in workers:
            worker.start()
        for _ in items:
            found = ended.get()
            if isinstance(found, BaseException):
                raise found
            yield found
    finally:
        stop.set()
        ready.abort()  # if not all have begun
        for worker in workers:
            if worker.ident is not None:  # it was started
                worker.join()
        torch.set_num_threads(before)  # what threads to come begin with


def _twins(model: Model, count: int) -> list[Model]:
    """Give a model and copies of it with the same weights; it alone if it cannot be copied."""
    found = [model]
    try:
        while len(found) < count:
            found.append(copy.deepcopy(model, {id(one): one for one in model.parameters()}))
    except Exception:  # a model may hold anything, such as a lock
        return [model]
    return found
