"""Ids and seeds: of the content alone, whatever the order or position."""

import hashlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mutual_taught.keys import normalise, pair_id, prompt_id, sampling_seed, unit_interval


def user(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def test_normalised_text_has_single_spaces_and_trimmed_ends() -> None:
    assert normalise("\t a  b\n\u00a0c ") == "a b c"


def test_normalised_text_is_composed() -> None:
    assert normalise("cafe\u0301") == "caf\u00e9"


@given(st.text())
def test_normalising_twice_changes_nothing(text: str) -> None:
    assert normalise(normalise(text)) == normalise(text)


def test_prompt_id_hashes_roles_and_normalised_texts() -> None:
    expected = hashlib.blake2b(b'[["user", "Hi you"]]', digest_size=16).hexdigest()
    assert prompt_id(user(" Hi\n you ")) == expected
    assert len(expected) == 32


@pytest.mark.parametrize(
    "other",
    [
        user("hello"),
        [{"role": "system", "content": "Hello"}],
        [*user("Hello"), *user("Hello")],
        user("Hello!"),
    ],
)
def test_prompt_id_tells_conversations_apart(other: list[dict[str, str]]) -> None:
    assert prompt_id(other) != prompt_id(user("Hello"))


def test_prompt_id_depends_on_the_order_of_the_turns() -> None:
    assert prompt_id(user("a") + user("b")) != prompt_id(user("b") + user("a"))


def test_extra_fields_of_a_turn_do_not_count() -> None:
    assert prompt_id([{"role": "user", "content": "a", "name": "x"}]) == prompt_id(user("a"))


def test_pair_id_depends_on_everything_that_names_the_pair() -> None:
    pairs = [
        ("ranked", 1, "p", "a", "b"), ("pseudo", 1, "p", "a", "b"), ("ranked", 2, "p", "a", "b"),
        ("ranked", 1, "q", "a", "b"), ("ranked", 1, "p", "b", "a"), ("ranked", 1, "p", "ab", ""),
    ]  # fmt: skip
    assert len({pair_id(*pair) for pair in pairs}) == len(pairs)


def test_seed_is_the_upper_bits_of_the_hash_of_its_key() -> None:
    digest = hashlib.blake2b(b"1|2|sample|p|3", digest_size=8).digest()
    assert sampling_seed(1, 2, "sample", "p", 3) == int.from_bytes(digest, "big") // 2


def test_every_part_of_its_key_changes_a_seed() -> None:
    keys = [
        (1, 1, "sample", "p", 0), (2, 1, "sample", "p", 0), (1, 2, "sample", "p", 0),
        (1, 1, "duel", "p", 0), (1, 1, "sample", "q", 0), (1, 1, "sample", "p", 1),
    ]  # fmt: skip
    assert len({sampling_seed(*key) for key in keys}) == len(keys)


@given(st.integers(0, 2**64), st.text(max_size=20))
def test_seeds_and_places_are_in_range(seed: int, prompt: str) -> None:
    assert 0 <= sampling_seed(seed, 1, "sample", prompt, 0) < 2**63
    assert 0 <= unit_interval(seed, prompt) < 1


@pytest.mark.parametrize("key", [lambda n: (1, f"p{n}"), lambda n: (n, "p")])
def test_places_are_even(key: Callable[[int], tuple[int, str]]) -> None:
    # share of 2,000 below 0.3: standard deviation sqrt(0.3 * 0.7 / 2000) = 0.0102; four of them
    below = sum(unit_interval(*key(number)) < 0.3 for number in range(2000))
    assert below / 2000 == pytest.approx(0.3, abs=0.041)
