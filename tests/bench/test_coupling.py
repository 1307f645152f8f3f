"""Tokens before the first difference, and how the two ways of drawing are counted."""

import torch

from bench.coupling import alike, raced, ranked

# 200 positions with the same two probable tokens, whose ranks differ between the policies
ONE = torch.tensor([0.5, 0.49, 0.01]).log().expand(200, -1) * 0.8
OTHER = torch.tensor([0.49, 0.5, 0.01]).log().expand(200, -1) * 0.8


def test_tokens_are_alike_up_to_the_first_that_differs() -> None:
    assert alike([4, 5, 6], [4, 5, 7]) == 2
    assert alike([4, 5, 6], [3, 5, 6]) == 0
    assert alike([4, 5], [4, 5]) == 2


def test_race_changes_few_draws_where_two_ranks_change_and_inversion_all() -> None:
    # Top-p 0.95 leaves two tokens. By rank, a number below 0.5 / 0.99 draws the first, which is
    # token 0 of one policy and token 1 of the other: they never agree. The race's draws differ with
    # probability 2 d / (1 + d) at most, d = 0.01 / 0.99: 4 of 200.
    race, rank = (
        sum(a == b for a, b in zip(draw(ONE, 3), draw(OTHER, 3), strict=True))
        for draw in (raced, ranked)
    )
    assert race > 190
    assert rank == 0


def test_one_policy_draws_the_same_from_the_same_seed_and_not_from_another() -> None:
    for draw in (raced, ranked):
        assert draw(ONE, 3) == draw(ONE, 3)
        assert draw(ONE, 3) != draw(ONE, 4)
