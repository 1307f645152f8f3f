"""Ids and seeds: of only the content, whatever the order or position."""

import hashlib
import json

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mutual_taught.artifacts.schemas import MESSAGES
from mutual_taught.keys import (
    normalise,
    pair_id,
    pair_ids,
    places,
    prompt_id,
    prompt_ids,
    sampling_seed,
    sampling_seeds,
)

P, Q = (hashlib.blake2b(name, digest_size=16).hexdigest() for name in (b"p", b"q"))


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


def test_prompt_id_hashes_json_whatever_the_signs() -> None:
    text = 'a "b" \\ c\u2028\x07 é'
    turns = [["user", normalise(text)], ["assistant", "x"]]
    messages = [*user(text), {"role": "assistant", "content": "x"}]
    encoded = json.dumps(turns, ensure_ascii=False).encode()
    assert prompt_id(messages) == hashlib.blake2b(encoded, digest_size=16).hexdigest()


def test_pair_id_hashes_its_parts_and_where_chosen_ends() -> None:
    expected = hashlib.blake2b(b"ranked|1|p|2|abc", digest_size=16).hexdigest()
    assert pair_id("ranked", 1, "p", "ab", "c") == expected


def test_pair_id_depends_on_everything_that_names_the_pair() -> None:
    pairs = [
        ("ranked", 1, "p", "a", "b"),
        ("pseudo", 1, "p", "a", "b"),
        ("ranked", 2, "p", "a", "b"),
        ("ranked", 1, "q", "a", "b"),
        ("ranked", 1, "p", "b", "a"),
        ("ranked", 1, "p", "ab", ""),
        ("ranked", 1, "p", "", "ab"),
    ]
    assert len({pair_id(*pair) for pair in pairs}) == len(pairs)


@given(
    st.lists(
        st.lists(
            st.fixed_dictionaries(
                {
                    "role": st.sampled_from(["user", '"x', "\t", "\u00e9"]),
                    "content": st.text() | st.text('ab "\\\t\n\x0b\x1c\x1f\x7f\x07\x85\u2003'),
                }
            ),
            max_size=3,
        ),
        max_size=5,
    ),
    st.integers(0, 2),
)
def test_ids_of_many_conversations_are_those_of_each(
    conversations: list[list[dict[str, str]]], start: int
) -> None:
    column = pa.array(conversations, MESSAGES).slice(start)
    assert prompt_ids(column) == [prompt_id(messages) for messages in conversations[start:]]


@given(st.lists(st.tuples(st.text("ab|é", max_size=4), st.text(), st.text()), max_size=5))
def test_ids_of_many_pairs_are_those_of_each(pairs: list[tuple[str, str, str]]) -> None:
    columns = zip(*pairs, strict=True) if pairs else ([], [], [])
    found = pair_ids("ranked", 3, *(pa.array(column, pa.string()) for column in columns))
    assert found == [pair_id("ranked", 3, *pair) for pair in pairs]


def test_seed_mixes_id_key_and_index_as_splitmix64_does() -> None:
    # By hand, in Python's whole numbers: mix(mix(id xor key) + index * golden), without its last
    # bit. mix(golden) is the first number of splitmix64 from state 0.
    def mix(state: int) -> int:
        state = (state ^ state >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        state = (state ^ state >> 27) * 0x94D049BB133111EB % 2**64
        return state ^ state >> 31

    golden = 0x9E3779B97F4A7C15
    assert mix(golden) == 0xE220A8397B1DCDAF
    key = int.from_bytes(hashlib.blake2b(b"1|2|sample", digest_size=8).digest(), "big")
    expected = mix((mix(int(P[:16], 16) ^ key) + 3 * golden) % 2**64) >> 1
    assert sampling_seed(1, 2, "sample", P, 3) == expected
    key = int.from_bytes(hashlib.blake2b(b"7|split", digest_size=8).digest(), "big")
    expected = mix((mix(int(Q[:16], 16) ^ key) + golden) % 2**64) >> 11
    assert places(7, [Q]).tolist() == [expected / 2**53]


def test_every_part_of_its_key_changes_a_seed() -> None:
    keys = [
        (1, 1, "sample", P, 0),
        (2, 1, "sample", P, 0),
        (1, 2, "sample", P, 0),
        (1, 1, "duel", P, 0),
        (1, 1, "sample", Q, 0),
        (1, 1, "sample", P, 1),
    ]
    assert len({sampling_seed(*key) for key in keys}) == len(keys)


def test_seeds_do_not_depend_on_what_else_is_asked() -> None:
    ids, indices = [P, Q, P], np.array([0, 1, 2])
    expected = [
        sampling_seed(1, 2, "duel", name, index)
        for name, index in zip(ids, indices.tolist(), strict=True)
    ]
    assert sampling_seeds(1, 2, "duel", ids, indices).tolist() == expected
    assert len(sampling_seeds(1, 2, "duel", [], np.array([], np.int64))) == 0


@given(st.integers(0, 2**64), st.text("0123456789abcdef", min_size=32, max_size=32))
def test_seeds_and_places_are_in_range(seed: int, prompt: str) -> None:
    assert 0 <= sampling_seed(seed, 1, "sample", prompt, 0) < 2**63
    assert 0 <= places(seed, [prompt])[0] < 1


def test_seeds_are_even_and_distinct() -> None:
    ids = [prompt_id(user(str(number))) for number in range(2000)]
    seeds = np.stack([sampling_seeds(1, 1, "sample", ids, np.full(2000, i)) for i in range(5)])
    assert len(np.unique(seeds)) == seeds.size
    # Every bit is set in half of 10,000: standard deviation 0.005; five of them.
    shares = np.array([(seeds >> bit & 1).mean() for bit in range(63)])
    assert np.abs(shares - 0.5).max() < 0.025
    # and two responses of a prompt have nothing in common
    shares = np.array([((seeds[0] ^ seeds[1]) >> bit & 1).mean() for bit in range(63)])
    assert np.abs(shares - 0.5).max() < 0.056


@pytest.mark.parametrize("by", ["prompt", "seed"])
def test_places_are_even(by: str) -> None:
    # share of 2,000 below 0.3: standard deviation sqrt(0.3 * 0.7 / 2000) = 0.0102; four of them
    ids = [prompt_id(user(str(number))) for number in range(2000)]
    found = (
        places(1, ids) if by == "prompt" else np.concatenate([places(n, [P]) for n in range(2000)])
    )
    assert (found < 0.3).mean() == pytest.approx(0.3, abs=0.041)


@pytest.mark.parametrize("wrong", ["p", "0" * 31, "0" * 64, "g" * 32])
def test_ids_that_are_no_hash_are_refused(wrong: str) -> None:
    with pytest.raises(ValueError, match="32 hex digits"):
        places(1, [wrong])
