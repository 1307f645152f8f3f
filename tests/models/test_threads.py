"""Two shards at a time: the same numbers, errors end both."""

import threading
import time
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import nn

from mutual_taught.models.threads import shares, two_at_a_time
from mutual_taught.terminal.progress import ignore

Seen = Callable[[int], object]


class Holding(nn.Module):
    """Adds a weight to what it holds of the last forward pass, as some models hold positions."""

    lock: object = None

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.held = 0.0

    def forward(self, value: float) -> float:
        self.held = value
        time.sleep(0.02)  # the other thread's turn
        return self.held + float(self.weight.detach())


pytestmark = pytest.mark.usefixtures("two_threads")


def test_threads_are_shared_out_by_their_number_alone() -> None:
    assert [shares(count) for count in (1, 2, 3, 8)] == [(1, 1), (2, 1), (2, 1), (2, 4)]


def test_threads_share_weights_and_hold_the_rest_for_themselves() -> None:
    model, seen = Holding(), list[int]()
    weights, models, at_once = set[int](), set[int](), list[int]()

    def work(own: Holding, item: float, tell: Seen) -> float:
        weights.add(own.weight.data_ptr())
        models.add(id(own))
        at_once.append(torch.get_num_threads())
        tell(1)
        result: float = own(item)
        return result

    found = dict(two_at_a_time(model, {n: float(n) for n in range(6)}, work, seen.append))
    assert found == {n: n + 1.0 for n in range(6)}
    assert weights == {model.weight.data_ptr()}
    assert len(models) == 2
    assert at_once == [1] * 6
    assert seen == [1] * 6
    assert torch.get_num_threads() == 2


def test_model_that_cannot_be_copied_computes_alone() -> None:
    model, found = Holding(), set[int]()
    model.lock = threading.Lock()  # no copy of it can be made

    def work(own: Holding, item: float, _: Seen) -> float:
        found.add(id(own))
        assert torch.get_num_threads() == 1
        result: float = own(item)
        return result

    assert dict(two_at_a_time(model, {0: 1.0, 1: 2.0}, work, ignore)) == {0: 2.0, 1: 3.0}
    assert found == {id(model)}


def test_error_of_one_ends_the_other() -> None:
    told: list[int] = []

    def work(_: Holding, item: int, tell: Seen) -> int:
        if item == 1:
            raise ValueError("bad shard")
        while True:  # for ever, unless it is told to stop
            tell(item)
            time.sleep(0.001)

    with pytest.raises(ValueError, match="bad shard"):
        list(two_at_a_time(Holding(), {0: 0, 1: 1, 2: 2}, work, told.append))
    assert not [one for one in threading.enumerate() if one.name.startswith("shard")]
    assert torch.get_num_threads() == 2


def test_nothing_goes_on_once_no_more_is_asked_for() -> None:
    def work(_: Holding, item: int, tell: Seen) -> int:
        while item:
            tell(item)
            time.sleep(0.001)
        return item

    found = two_at_a_time(Holding(), {0: 0, 1: 1}, work, ignore)
    assert next(found) == (0, 0)
    assert isinstance(found, Iterator)
    found.close()  # type: ignore[attr-defined]
    assert not [one for one in threading.enumerate() if one.name.startswith("shard")]
