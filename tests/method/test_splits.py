"""Prompt splits: intervals of a hash, so that nothing depends on order or on other splits."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mutual_taught.errors import InputError
from mutual_taught.keys import prompt_id
from mutual_taught.method import splits
from mutual_taught.method.splits import assign_splits, policy_part

IDS = [prompt_id([{"role": "user", "content": str(number)}]) for number in range(400)]
SHARES = {"policy_1": 0.25, "policy_2": 0.25, "reward": 0.3, "selection": 0.1, "eval": 0.1}
SIZES: dict[str, int | None] = {
    "policy_1": 20,
    "policy_2": 20,
    "reward": 30,
    "selection": 10,
    "eval": 10,
}


@pytest.mark.parametrize(
    ("iteration", "parts", "name"),
    [
        (1, 2, "policy_1"),
        (2, 2, "policy_2"),
        (3, 2, "policy_1"),
        (4, 2, "policy_2"),
        (1, 1, "policy_1"),
        (5, 1, "policy_1"),
        (3, 3, "policy_3"),
        (4, 3, "policy_1"),
    ],
)
def test_iterations_take_the_policy_parts_in_turn(iteration: int, parts: int, name: str) -> None:
    assert policy_part(iteration, parts) == name


def test_split_takes_the_lowest_places_of_its_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    places = {"a": 0.45, "b": 0.1, "c": 0.3, "d": 0.5, "e": 0.8, "f": 0.95}
    monkeypatch.setattr(splits, "places", lambda _, ids: np.array([places[name] for name in ids]))
    # [0, 0.5) holds b, c, a, of which two; [0.5, 0.9) holds d, e, all; f belongs to no split
    found = assign_splits(list(places), {"x": 0.5, "y": 0.4}, {"x": 2, "y": None}, 0)
    assert found == {"x": ["b", "c"], "y": ["d", "e"]}


@pytest.mark.parametrize("name", SIZES)
def test_growth_of_one_split_leaves_the_others_alone(name: str) -> None:
    before = assign_splits(IDS, SHARES, SIZES, 1)
    after = assign_splits(IDS, SHARES, {**SIZES, name: (SIZES[name] or 0) + 7}, 1)
    assert set(before[name]) < set(after[name])
    assert {**after, name: []} == {**before, name: []}


def test_splits_have_their_sizes_and_share_no_prompt() -> None:
    found = assign_splits(IDS, SHARES, SIZES, 1)
    assert {name: len(members) for name, members in found.items()} == SIZES
    members = [prompt for split in found.values() for prompt in split]
    assert len(set(members)) == len(members)
    assert set(members) <= set(IDS)


def test_size_null_takes_every_prompt_of_the_share() -> None:
    found = assign_splits(IDS, {"x": 0.5, "y": 0.5}, {"x": None, "y": None}, 1)
    assert sorted(found["x"] + found["y"]) == sorted(IDS)


def test_new_prompts_move_no_prompt_to_another_split() -> None:
    sizes: dict[str, int | None] = dict.fromkeys(SHARES)
    few, many = assign_splits(IDS[:300], SHARES, sizes, 1), assign_splits(IDS, SHARES, sizes, 1)
    assert all(set(few[name]) <= set(many[name]) for name in SHARES)


def test_another_seed_divides_otherwise() -> None:
    assert assign_splits(IDS, SHARES, SIZES, 1) != assign_splits(IDS, SHARES, SIZES, 2)


@given(st.permutations(IDS[:60]))
def test_order_of_the_prompts_does_not_matter(ids: list[str]) -> None:
    shares, sizes = {"x": 0.4, "y": 0.6}, {"x": 5, "y": None}
    assert assign_splits(ids, shares, sizes, 3) == assign_splits(IDS[:60], shares, sizes, 3)


def test_too_few_prompts_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    places = {"a": 0.1, "b": 0.2, "c": 0.9}
    monkeypatch.setattr(splits, "places", lambda _, ids: np.array([places[name] for name in ids]))
    with pytest.raises(InputError) as caught:
        assign_splits(list(places), {"reward": 0.5}, {"reward": 3}, 0)
    assert str(caught.value) == (
        "split 'reward': 2 prompts in its share 0.5 of 3; expected at least 3; give more prompts, "
        "a larger data.splits share or fewer prompts of it"
    )


@pytest.mark.parametrize("size", [None, 1])
def test_share_without_a_prompt_is_one_line(size: int | None) -> None:
    with pytest.raises(InputError) as caught:
        assign_splits([], {"eval": 0.1}, {"eval": size}, 0)
    assert str(caught.value).startswith(
        "split 'eval': 0 prompts in its share 0.1 of 0; expected at least 1; "
    )
