"""The E-step on tables: the sampler's log-probs as DPO's reference."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mutual_taught.artifacts import tables
from mutual_taught.artifacts.texts import is_blank
from mutual_taught.errors import InputError
from mutual_taught.method.ranked_pairs import Rule
from mutual_taught.steps.rank_pairs import (
    compare_margins,
    rank,
    require_kept,
    sampled_logps,
)

Response = tuple[int, int, str]
any_response = st.tuples(
    st.integers(-3, 3), st.integers(1, 3), st.sampled_from(["a", "b", " ", ""])
)


def by_hand(responses: list[Response]) -> tuple[int | None, int | None, str]:
    """The paper's rule in whole numbers: r > mean where r times M > the sum."""
    rewards = [reward for reward, _, _ in responses]
    above = [i for i, reward in enumerate(rewards) if reward * len(rewards) > sum(rewards)]
    if not above:
        return None, None, "rewards_alike"
    chosen = min(above, key=lambda i: (responses[i][1], i))
    rejected = rewards.index(min(rewards))
    texts = responses[chosen][2], responses[rejected][2]
    blank = not texts[0].strip() or not texts[1].strip()
    return chosen, rejected, "blank" if blank else "same_text" if texts[0] == texts[1] else ""


@given(
    st.integers(1, 4).flatmap(
        lambda width: st.lists(st.lists(any_response, min_size=width, max_size=width), min_size=1)
    )
)
def test_pairs_of_tables_are_those_found_by_hand(prompts: list[list[Response]]) -> None:
    width = len(prompts[0])
    flat = [response for responses in prompts for response in responses]
    keys = {
        "prompt_id": [f"{row // width:032x}" for row in range(len(flat))],
        "response_index": [row % width for row in range(len(flat))],
    }
    rewards, lengths, texts = zip(*flat, strict=True)
    zeros, ends = [0] * len(flat), ["stop"] * len(flat)
    told = {"length_tokens": lengths, "finish_reason": ends, "seed": zeros}
    drawn = pa.table({**keys, "response": texts, **told})
    scored = pa.table({**keys, "reward": [float(reward) for reward in rewards]})
    rows = rank(drawn, scored, width, Rule("shortest_above_mean")).pairs.to_pylist()
    found = [(row["chosen_index"], row["rejected_index"], row["reason"]) for row in rows]
    assert found == [by_hand(responses) for responses in prompts]
    assert [row["kept"] for row in rows] == [not reason for _, _, reason in found]
    assert set(rows[0]) <= set(tables.RANKED_PAIRS.columns)


def test_pairs_without_length_are_picked_by_what_is_left_and_keep_their_rewards() -> None:
    # Distances from the means: lengths -2, 0, 2, rewards -3, -1, 4; slope (6 + 0 + 8) / 8 = 1.75.
    # Left are 0 + 3.5, 2 and 7 - 3.5 of mean 3: the shortest above is the first, the least is 2.
    keys = {"prompt_id": ["a"] * 3, "response_index": [0, 1, 2], "seed": [0] * 3}
    told = {"length_tokens": [2, 4, 6], "finish_reason": ["stop"] * 3}
    drawn = pa.table({**keys, "response": ["x", "y", "z"], **told})
    scored = pa.table({"reward": [0.0, 2.0, 7.0]})
    for neutral, slope, picked in (
        (False, None, (2, 0, 7.0, 0.0)),
        (True, 1.75, (0, 1, 0.0, 2.0)),
    ):
        found = rank(drawn, scored, 3, Rule("shortest_above_mean", neutral))
        assert found.slope == slope
        [row] = found.pairs.to_pylist()
        names = ("chosen_index", "rejected_index", "reward_chosen", "reward_rejected")
        assert tuple(row[name] for name in names) == picked


def drawn_with(ends: list[str]) -> pa.Table:
    """Prompts of three responses, 2, 4 and 6 tokens long."""
    count = len(ends)
    return pa.table(
        {
            "prompt_id": [f"{row // 3:032x}" for row in range(count)],
            "response_index": [row % 3 for row in range(count)],
            "response": [f"text {row}" for row in range(count)],
            "length_tokens": [2 + 2 * (row % 3) for row in range(count)],
            "finish_reason": ends,
            "seed": [0] * count,
        }
    )


def test_responses_that_were_cut_take_no_part_where_only_ended_ones_do() -> None:
    drawn = drawn_with(["stop", "stop", "length"])
    scored = pa.table({"reward": [1.0, 0.0, 7.0]})
    for only, picked in ((False, (2, 1)), (True, (0, 1))):
        [row] = rank(drawn, scored, 3, Rule("highest", ended_only=only)).pairs.to_pylist()
        assert (row["chosen_index"], row["rejected_index"]) == picked
    # 2 and 4 tokens, rewards 1 and 0: -0.5 a token. With the third, of distances -2, 0, 2 and
    # -5/3, -8/3, 13/3: 12 / 8.
    for only, slope in ((True, -0.5), (False, 1.5)):
        found = rank(drawn, scored, 3, Rule("highest", True, only))
        assert found.slope == pytest.approx(slope)


def test_a_prompt_with_too_few_that_ended_has_no_pair_and_says_why() -> None:
    cut, none = ["stop", "length", "length"], float("nan")
    drawn = drawn_with([*cut, *cut, "stop", "stop", "length"])
    scored = pa.table({"reward": [1.0, 2.0, 3.0, 1.0, none, none, 1.0, 1.0, 3.0]})
    pairs = rank(drawn, scored, 3, Rule("highest", ended_only=True)).pairs
    assert pairs["reason"].to_pylist() == ["cut", "unscored", "rewards_alike"]
    everything = rank(drawn, scored, 3, Rule("highest")).pairs
    assert everything["reason"].to_pylist() == ["", "unscored", ""]
    # One of the two that are given has no reward, though the others have one.
    scored = pa.table({"reward": [none, 2.0, 3.0] * 3})
    assert rank(drawn, scored, 3, Rule("given")).pairs["reason"].to_pylist() == ["unscored"] * 3
    with pytest.raises(InputError, match=r"\(cut 1, .*raise sample.max_new_tokens, or set rank_p"):
        require_kept(pairs, Path("run/1"))


def test_sampled_logps_are_those_of_the_kept_sides() -> None:
    ranked = pa.table(
        {"kept": [True, False, True], "chosen_index": [1, None, 0], "rejected_index": [0, None, 1]}
    )
    responses = pa.table({"logprob": [-1.0, -2.0, -3.0, -4.0, -5.0, -6.0]})
    assert sampled_logps(ranked, responses).tolist() == [[-2.0, -1.0], [-5.0, -6.0]]


def test_agreement_is_of_margins_and_not_of_what_both_sides_share() -> None:
    # Margins 1 and -2 against 1.5 and -2; both log-probs of the first are 10 nats lower.
    ours = np.array([[-5.0, -6.0], [-4.0, -2.0]])
    trainer = np.array([[-14.5, -16.0], [-4.0, -2.0]])
    assert compare_margins(ours, trainer, Path("p")) == {
        "reference_margin_difference_mean": 0.25,
        "reference_margin_difference_max": 0.5,
    }


@pytest.mark.parametrize("margin", [4.1, -4.1, float("nan")])
def test_log_probs_of_something_else_are_refused(margin: float) -> None:
    ours, trainer = np.array([[margin, 0.0], [0.0, 0.0]]), np.zeros((2, 2))
    with pytest.raises(InputError) as caught:
        compare_margins(ours, trainer, Path("run/0/policy"))
    assert str(caught.value).startswith("run/0/policy: margins of the sampler's log-probs are ")
    assert str(caught.value).endswith("use rank_pairs.reference_logps trainer")


def test_blank_is_what_shows_nothing() -> None:
    nothing = ["", " ", "\n\t", "\u200b", "\ufeff", "\u2060\u00ad", "\x00\x1b", "\u3000", "\x7f"]
    something = [" a", "\u200bb", ".", "\u4f60", "\U0001f600", "\u0301"]
    assert is_blank(pa.array(nothing + something)).to_pylist() == [True] * 9 + [False] * 6
    assert is_blank(pa.array(["x", *something, ""]).slice(1, 7)).to_pylist() == [False] * 6 + [True]
    assert is_blank(pa.array([], pa.string())).to_pylist() == []
    assert is_blank(pa.array(["", ""])).to_pylist() == [True, True]
