"""How many tokens packing saves on a benchmark's items, by hand."""

from bench.benchmarks import parted, tokens
from mutual_taught.models.packed.rows import Group


def test_alone_every_response_brings_its_prompt_along() -> None:
    group = Group([1] * 400, [[2] * 50, [3] * 50, [4] * 50, [5] * 50])
    assert tokens([group]) == 400 + 4 * 50
    assert tokens(parted([group])) == 4 * (400 + 50)  # so the ratio is 1800 / 600 = 3


def test_responses_keep_their_prompt_and_their_order() -> None:
    groups = [Group([1], [[2], [3]]), Group([4], [[5]])]
    assert parted(groups) == [Group([1], [[2]]), Group([1], [[3]]), Group([4], [[5]])]
