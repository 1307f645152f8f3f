"""The M-step on tables: pseudo-labels, epsilon_t, the filter and the mix, worked by hand."""

from pathlib import Path
from typing import get_args

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mutual_taught.artifacts import tables
from mutual_taught.config.blocks import BuildPairs
from mutual_taught.errors import InputError
from mutual_taught.evaluation.gold_tables import Golds
from mutual_taught.keys import pair_id
from mutual_taught.method.pseudo_pairs import Accumulated, FilterRule
from mutual_taught.steps import build_pairs, train_rm

PROMPTS = ["a", "b", "c", "d"]
NO_PAIR = tables.REWARD_PAIRS.schema.empty_table()


def answers(texts: list[str]) -> pa.Table:
    size = len(texts)
    return pa.table(
        {
            "prompt_id": PROMPTS[:size],
            "response": texts,
            "token_ids": [[1]] * size,
            "length_tokens": [1] * size,
            "finish_reason": ["stop"] * size,
            "seed": [0] * size,
        },
        schema=tables.ANSWERS.schema,
    )


def rewards(now: list[float | None], before: list[float | None]) -> pa.Table:
    return pa.table(
        {
            "prompt_id": PROMPTS[: len(now)],
            "reward": now,
            "previous_reward": before,
            "reason": ["too_long" if reward is None else "" for reward in now],
            "previous_reason": ["too_long" if reward is None else "" for reward in before],
        },
        schema=tables.ANSWER_REWARDS.schema,
    )


def pairs(*rows: tuple[str, str, str]) -> pa.Table:
    columns = zip(*rows, strict=True) if rows else ([], [], [])
    return pa.table([pa.array(column, tables.TEXT) for column in columns], build_pairs.PAIR)


def pseudo(rule: FilterRule = "tolerance") -> tuple[pa.Table, float | None]:
    """Previous rewards 0, 2, 4, 6: mean 3, variance 5, epsilon the root of 5 (about 2.236)."""
    return build_pairs.pseudo_pairs(
        answers(["w", "x", "y", "z"]),
        answers(["p", "q", "r", "s"]),
        rewards([1.0, 0.0, 1.0, 3.7], [0.0, 2.0, 4.0, 6.0]),
        rule,
    )


def test_new_answer_is_chosen_and_the_old_one_rejected() -> None:
    table, _ = pseudo()
    kept = build_pairs.kept_pseudo(table)
    assert kept.to_pylist() == pairs(("a", "w", "p"), ("b", "x", "q")).to_pylist()


def test_tolerance_is_the_population_deviation_of_the_old_rewards() -> None:
    assert pseudo()[1] == pytest.approx(np.sqrt(5))


def test_margin_below_minus_the_tolerance_is_dropped_with_its_reason() -> None:
    table, _ = pseudo()
    assert table["reward_margin"].to_pylist() == pytest.approx([1.0, -2.0, -3.0, -2.3])
    assert table["reason"].to_pylist() == ["", "", "margin", "margin"]


def test_gold_labels_the_better_answer_chosen_whoever_wrote_it() -> None:
    """Rewards as in `pseudo`; by gold y_t is better on a and d, y_{t-1} on b, neither on c."""
    golds = Golds(np.array([1.0, 0.5, 0.5, 0.5]), np.array([0.5, 1.0, 0.5, 0.0]))
    table, epsilon = build_pairs.pseudo_pairs(
        answers(["w", "x", "y", "z"]),
        answers(["p", "q", "r", "s"]),
        rewards([1.0, 0.0, 1.0, 3.7], [0.0, 2.0, 4.0, 6.0]),
        "tolerance",
        golds,
    )
    assert epsilon == pytest.approx(np.sqrt(5))  # of the old rewards, whoever is chosen
    assert table["chosen"].to_pylist() == ["response", "previous_response", "", "response"]
    assert table["reason"].to_pylist() == ["", "", "gold_tie", "margin"]
    # 1 - 0; 2 - 0, for the old answer is chosen; none; 3.7 - 6
    assert table["reward_margin"].to_pylist() == [1.0, 2.0, None, pytest.approx(-2.3)]
    kept = build_pairs.kept_pseudo(table)
    assert kept.to_pylist() == pairs(("a", "w", "p"), ("b", "q", "x")).to_pylist()
    said = build_pairs.metrics(table, epsilon, reward_pairs(1, ("a", "w", "p")))
    assert (said["labelled_by_gold"], said["kept_turned"], said["dropped_gold_tie"]) == (1, 1, 1)


def test_gold_and_who_is_chosen_are_written_and_read_where_gold_labels(tmp_path: Path) -> None:
    own = answers(["w", "x"]), answers(["p", "q"]), rewards([1.0, 0.0], [0.0, 2.0])
    golds = Golds(np.array([1.0, 0.5]), np.array([0.5, 1.0]))
    for name, by in (("paper", None), ("gold", golds)):
        table, _ = build_pairs.pseudo_pairs(*own, "none", by)
        path = tables.write(tmp_path / name, tables.PSEUDO_PAIRS, table, {})
        read = tables.read(path, tables.PSEUDO_PAIRS)
        added = ["gold", "previous_gold", "chosen"] if by else []
        assert read.column_names == [*tables.PSEUDO_PAIRS.columns, *added]


def test_positive_rule_keeps_the_one_positive_margin() -> None:
    assert pseudo("positive")[0]["kept"].to_pylist() == [True, False, False, False]


def test_blank_and_equal_answers_are_dropped_but_count_in_the_tolerance() -> None:
    table, epsilon = build_pairs.pseudo_pairs(
        answers([" ", "same", "new"]),
        answers(["old", "same", ""]),
        rewards([5.0, 1.0, 9.0], [1.0, 1.0, 4.0]),
        "none",
    )
    assert table["reason"].to_pylist() == ["blank", "same_text", "blank"]
    assert epsilon == pytest.approx(np.sqrt(2))


def test_pair_with_a_side_that_has_no_reward_is_dropped_and_the_tolerance_is_over_the_scored() -> (
    None
):
    # pi_{t-1}'s rewards 1 and 5, mean 3, are there: epsilon 2, although pair b has only one side
    table, epsilon = build_pairs.pseudo_pairs(
        answers(["w", "x", "y", "z"]),
        answers(["p", "q", "r", "s"]),
        rewards([0.0, None, 9.0, None], [1.0, 5.0, None, None]),
        "tolerance",
    )
    assert epsilon == 2.0
    assert table["reason"].to_pylist() == ["", "unscored", "unscored", "unscored"]
    assert table["reward_margin"].to_pylist() == [-1.0, None, None, None]
    assert table["previous_reward"].to_pylist() == [1.0, 5.0, None, None]
    assert build_pairs.kept_pseudo(table).to_pylist() == pairs(("a", "w", "p")).to_pylist()
    assert build_pairs.metrics(table, epsilon, reward_pairs(1, ("a", "w", "p"))) == {
        "active": 1.0,
        "tolerance": 2.0,
        "rows": 4.0,
        "kept": 1.0,
        "dropped_unscored": 3.0,
        "reward_margin_mean": -1.0,
        "pairs": 1.0,
        "pairs_pseudo": 0.0,
        "pairs_ranked": 1.0,
    }


def test_without_any_scored_previous_answer_there_is_no_tolerance_and_no_pseudo_pair() -> None:
    table, epsilon = build_pairs.pseudo_pairs(
        answers(["w", "x"]), answers(["p", "q"]), rewards([1.0, 2.0], [None, None]), "none"
    )
    assert epsilon is None
    assert table["kept"].to_pylist() == [False, False]
    told = build_pairs.metrics(table, epsilon, reward_pairs(1, ("a", "w", "p")))
    assert (told["tolerance"], told["reward_margin_mean"]) == (None, None)


def reward_pairs(iteration: int, *rows: tuple[str, str, str]) -> pa.Table:
    return build_pairs.mix({"ranked": pairs(*rows)}, NO_PAIR, iteration)


def test_mix_holds_both_kinds_with_ids_of_their_content() -> None:
    fresh = {"ranked": pairs(("a", "good", "bad")), "pseudo": pairs(("b", "new", "old"))}
    rows = build_pairs.mix(fresh, NO_PAIR, 2).to_pylist()
    assert [(row["kind"], row["iteration"], row["prompt_id"]) for row in rows] == [
        ("ranked", 2, "a"),
        ("pseudo", 2, "b"),
    ]
    assert rows[0]["pair_id"] == pair_id("ranked", 2, "a", "good", "bad")
    assert len({row["pair_id"] for row in rows}) == 2


def test_mix_without_a_pair_is_refused() -> None:
    with pytest.raises(InputError, match="iteration 1: no pair is left"):
        build_pairs.mix({"ranked": pairs(), "pseudo": pairs()}, NO_PAIR, 1)


def test_earlier_pairs_alone_are_enough() -> None:
    earlier = reward_pairs(1, ("a", "good", "bad"))
    assert build_pairs.mix({"ranked": pairs()}, earlier, 2).to_pylist() == earlier.to_pylist()


@pytest.mark.parametrize(
    ("rule", "prompts"), [("none", ["c"]), ("last", ["c", "b"]), ("all", ["c", "b", "a"])]
)
def test_mix_of_the_third_iteration_holds_what_is_carried_on(
    rule: Accumulated, prompts: list[str]
) -> None:
    two = build_pairs.mix({"ranked": pairs(("b", "x", "y"))}, reward_pairs(1, ("a", "x", "y")), 2)
    assert two["iteration"].to_pylist() == [2, 1]
    fresh = {"ranked": pairs(("c", "x", "y"))}
    three = build_pairs.mix(fresh, build_pairs.carry(two, 3, rule), 3)
    assert three["prompt_id"].to_pylist() == prompts


def test_nothing_is_carried_into_the_first_iteration() -> None:
    for rule in get_args(Accumulated):
        assert len(build_pairs.carry(NO_PAIR, 1, rule)) == 0


@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.text(max_size=3), st.text(max_size=3)),
        min_size=1,
        max_size=6,
        unique=True,
    ),
    st.randoms(),
)
def test_order_of_the_pairs_does_not_change_the_written_mix(
    rows: list[tuple[str, str, str]], random: "np.random.Generator"
) -> None:
    def written(listed: list[tuple[str, str, str]]) -> list[object]:
        mixed = reward_pairs(1, *listed)
        return list(
            mixed.sort_by([("prompt_id", "ascending"), ("pair_id", "ascending")]).to_pylist()
        )

    shuffled = list(rows)
    random.shuffle(shuffled)
    assert written(rows) == written(shuffled)


def settings(**changes: object) -> BuildPairs:
    values = {
        "labels": "policy",
        "filter": "tolerance",
        "ranked": True,
        "pseudo": True,
        "accumulate": "none",
        "seed_preferences": 0.0,
        "weights": "none",
    }
    return BuildPairs.model_validate(values | changes)


def ranked_and_responses() -> tuple[pa.Table, pa.Table]:
    """Prompt a: response 1 over 0; prompt b: dropped."""
    responses = pa.table(
        {
            "prompt_id": ["a", "a", "b", "b"],
            "response_index": [0, 1, 0, 1],
            "response": ["bad", "good", "same", "same"],
            "token_ids": [[1]] * 4,
            "length_tokens": [1] * 4,
            "finish_reason": ["stop"] * 4,
            "seed": [0] * 4,
            "logprob": [0.0] * 4,
        },
        schema=tables.RESPONSES.schema,
    )
    ranked = pa.table(
        {
            "prompt_id": ["a", "b"],
            "chosen_index": [1, None],
            "rejected_index": [0, None],
            "reward_chosen": [1.0, None],
            "reward_rejected": [0.0, None],
            "reference_chosen_logps": [0.0, None],
            "reference_rejected_logps": [0.0, None],
            "kept": [True, False],
            "reason": ["", "rewards_alike"],
        },
        schema=tables.RANKED_PAIRS.schema,
    )
    return ranked, responses


@pytest.mark.parametrize(
    ("changes", "kinds"),
    [
        ({}, ["ranked", "pseudo", "pseudo"]),
        ({"pseudo": False}, ["ranked"]),
        ({"ranked": False}, ["pseudo", "pseudo"]),
        ({"accumulate": "last"}, ["ranked", "pseudo", "pseudo", "ranked"]),
        ({"accumulate": "all"}, ["ranked", "pseudo", "pseudo", "ranked"]),
        ({"seed_preferences": 1.0}, ["ranked", "pseudo", "pseudo", "seed", "seed"]),
        ({"seed_preferences": 0.5, "pseudo": False}, ["ranked", "seed"]),
    ],
)
def test_switches_decide_what_is_in_the_mix(changes: dict[str, object], kinds: list[str]) -> None:
    ranked, responses = ranked_and_responses()
    earlier = reward_pairs(1, ("d", "old good", "old bad"))
    sources = build_pairs.Sources(ranked, responses, pseudo()[0], earlier, seed_pairs(2))
    mixed = build_pairs.combine(sources, 2, settings(**changes), 1)
    assert mixed["kind"].to_pylist() == kinds
    ranked_texts = [row["chosen"] for row in mixed.to_pylist() if row["iteration"] == 2]
    assert ("good" in ranked_texts) == ("ranked" in kinds)


def seed_pairs(count: int) -> pa.Table:
    """Pairs that r_0 was trained on: prompts of 32 digits each, as the draw needs."""
    rows = [
        {
            "prompt_id": f"{number:02x}" * 16,
            "messages": [{"role": "user", "content": f"q{number}"}],
            "chosen": f"well {number}",
            "rejected": f"ill {number}",
            "gold_chosen": 1.0,
            "gold_rejected": 0.0,
            "part": "train",
        }
        for number in range(count)
    ]
    return pa.Table.from_pylist(rows, tables.SEED_PAIRS.schema)


def test_share_of_the_seed_pairs_is_drawn_anew_in_every_iteration() -> None:
    pool = seed_pairs(40)
    drawn = {
        (t, share): build_pairs.seeds(pool, t, share, 1)["prompt_id"].to_pylist()
        for t in (1, 2)
        for share in (0.25, 0.5, 1.0)
    }
    assert [len(drawn[1, share]) for share in (0.25, 0.5, 1.0)] == [10, 20, 40]
    assert set(drawn[1, 0.25]) < set(drawn[1, 0.5])
    assert drawn[1, 0.25] != drawn[2, 0.25]
    by_prompt = pool.take(list(reversed(range(40))))  # the order of the rows decides nothing
    assert set(build_pairs.seeds(by_prompt, 1, 0.25, 1)["prompt_id"].to_pylist()) == set(
        drawn[1, 0.25]
    )
    assert build_pairs.seeds(pool, 1, 0.25, 2)["prompt_id"].to_pylist() != drawn[1, 0.25]


def test_seed_pairs_of_an_earlier_mix_are_not_carried_on() -> None:
    fresh = {"ranked": pairs(("a", "x", "y")), "seed": build_pairs.seeds(seed_pairs(2), 1, 1.0, 1)}
    one = build_pairs.mix(fresh, NO_PAIR, 1)
    assert one["kind"].to_pylist() == ["ranked", "seed", "seed"]
    assert build_pairs.carry(one, 2, "all")["kind"].to_pylist() == ["ranked"]


def test_seed_pairs_are_counted_where_there_are_any() -> None:
    table, epsilon = pseudo()
    one = build_pairs.mix({"seed": build_pairs.seeds(seed_pairs(4), 1, 0.5, 1)}, NO_PAIR, 1)
    assert build_pairs.metrics(table, epsilon, one)["pairs_seed"] == 2.0
    assert "pairs_seed" not in build_pairs.metrics(table, epsilon, reward_pairs(1, ("a", "x", "y")))


def test_metrics_count_pairs_by_kind_and_reason() -> None:
    table, epsilon = pseudo()
    fresh = {"ranked": pairs(("a", "x", "y")), "pseudo": build_pairs.kept_pseudo(table)}
    mixed = build_pairs.mix(fresh, NO_PAIR, 1)
    assert build_pairs.metrics(table, epsilon, mixed) == {
        "active": 1.0,
        "tolerance": epsilon,
        "rows": 4.0,
        "kept": 2.0,
        "dropped_margin": 2.0,
        "reward_margin_mean": pytest.approx(-1.575),
        "pairs": 3.0,
        "pairs_pseudo": 2.0,
        "pairs_ranked": 1.0,
    }


def test_accuracy_is_of_all_pairs_of_an_epoch() -> None:
    met = pa.table(
        {"epoch": [1, 1, 1, 2, 2, 2], "correct": [True, False, False, True, True, False]}
    )
    assert train_rm.accuracy_by_epoch(met) == {
        "accuracy_first_epoch": pytest.approx(1 / 3),
        "accuracy_last_epoch": pytest.approx(2 / 3),
    }
