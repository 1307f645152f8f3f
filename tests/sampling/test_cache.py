"""The cache of sampling holds what the stock cache holds, and never twice."""

from typing import Any

import pytest
import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers.cache_utils import DynamicCache

from mutual_taught.sampling.cache import RoomyCache


class Alive(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of all tensors that operations made and that are still there."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.held: dict[StorageWeakRef, int] = {}
        self.peak = 0

    def now(self) -> int:
        gone = [one for one in self.held if one.expired()]  # type: ignore[no-untyped-call]
        for one in gone:
            del self.held[one]
        return sum(self.held.values())

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for one in tree_leaves(made):
            if isinstance(one, torch.Tensor):
                storage = one.untyped_storage()
                seen = StorageWeakRef(storage)  # type: ignore[no-untyped-call]
                self.held[seen] = storage.nbytes()
        self.peak = max(self.peak, self.now())
        return made


def test_roomy_cache_holds_what_the_stock_cache_holds() -> None:
    generator = torch.Generator().manual_seed(0)
    roomy, stock = RoomyCache(2), DynamicCache()

    def step(rows: int, new: int) -> None:
        for layer in range(2):
            keys, values = (torch.randn(rows, 2, new, 4, generator=generator) for _ in "kv")
            for one, other in zip(
                roomy.update(keys, values, layer), stock.update(keys, values, layer), strict=True
            ):
                assert torch.equal(one, other)

    step(3, 5)
    for _ in range(40):  # more than a block of room
        step(3, 1)
    for cache in (roomy, stock):
        cache.batch_select_indices(torch.tensor([0, 0, 2, 1]))
    for _ in range(3):
        step(4, 2)
    for cache in (roomy, stock):
        cache.batch_select_indices(torch.tensor([1, 3]))
    step(2, 1)
    assert roomy.get_seq_length() == stock.get_seq_length() == 5 + 40 + 6 + 1


def test_roomy_cache_follows_rows_that_change_places() -> None:
    roomy, stock = RoomyCache(1), DynamicCache()
    states = torch.arange(8.0).reshape(2, 1, 2, 2)
    for cache in (roomy, stock):
        cache.update(states, states, 0)
        cache.update(states, states, 0)
        cache.batch_select_indices(torch.tensor([1, 0]))
    assert torch.equal(roomy.update(states, states, 0)[0], stock.update(states, states, 0)[0])


@pytest.mark.parametrize("stay", [30, 35])
def test_rows_that_leave_go_layer_by_layer(stay: int) -> None:
    # 8 layers of 40 rows; held twice at most is one layer. All at once it were 1 + stay / 40.
    with Alive() as alive:
        cache = RoomyCache(8)
        for new in (20, 1):
            for layer in range(8):
                states = torch.zeros(40, 2, new, 4), torch.zeros(40, 2, new, 3)
                cache.update(*states, layer)
        del states
        before = alive.now()
        assert before == 8 * 40 * 2 * (20 + 1 + 32) * (4 + 3) * 4  # with 32 tokens of room
        alive.peak = 0
        rows = torch.arange(stay)
        cache.batch_select_indices(rows)
        for layer in range(8):
            cache.update(torch.zeros(stay, 2, 1, 4), torch.zeros(stay, 2, 1, 3), layer)
    one_token = stay * 2 * 7 * 4
    assert alive.peak <= before * (1 + stay / 40 / 8) + rows.nbytes + one_token
    assert alive.now() == before * stay // 40 + rows.nbytes
