"""What each picture shows, from a few rows by hand."""

from collections.abc import Sequence

import pyarrow as pa
import pytest

from bench import large_pictures
from mutual_taught.artifacts import tables
from mutual_taught.report.past import Past
from mutual_taught.report.pictures import (
    agreement,
    candidates,
    costs,
    lengths,
    margins,
    proxy,
    rewards,
    training,
)
from mutual_taught.report.pictures.rows import Row, Rows, Seen
from tests.report.pictures.seen import GENERATIONS, seen, table

CARRIED_ON = {"eval": {"active": 0.0}}
DUELS = table(
    tables.DUELS,
    step=[16, 16, 16, 32, 32, 32],
    prompt_id=["a", "b", "c"] * 2,
    outcome=[1.0, 0.5, None, 1.0, 1.0, None],
)


def picked(rows: Rows, *names: str) -> list[tuple[object, ...]]:
    return [tuple(row[name] for name in names) for row in rows]


def of_kind(rows: Rows, kind: str) -> Rows:
    return [row for row in rows if row["kind"] == kind]


def test_win_rate_is_over_judged_prompts_and_counts_ties_as_the_selection_did() -> None:
    chosen = {"active": 1.0, "step": 32.0, "tie_counts_as": 0.0}
    rows = candidates.rows(seen(metrics={"select_policy": chosen}, duels=DUELS))
    # Prompt c is left out. Step 16: a win and a tie that counts as a loss. Step 32: two wins.
    assert picked(rows, "step", "win_rate", "n", "taken") == [(16, 0.5, 2, False), (32, 1, 2, True)]
    assert {row["threshold"] for row in rows} == {0.6}


def test_no_candidate_is_taken_where_the_run_stopped() -> None:
    chosen = {"active": 0.0, "step": 32.0, "tie_counts_as": 0.5}
    rows = candidates.rows(seen(metrics={"select_policy": chosen}, duels=DUELS))
    assert picked(rows, "win_rate", "taken") == [(0.75, False), (1.0, False)]


def test_rewards_of_both_models_have_a_line_and_leave_out_what_has_none() -> None:
    rows = rewards.rows(seen())
    assert {(row["model"], row["n"], row["mean"]) for row in rows} == {
        ("r_0", 4, 0.5),
        ("r_t", 3, 0.0),
    }
    assert len(rows) == 160  # 80 points a line


def test_an_iteration_that_carries_an_evaluation_on_has_nothing_of_it_to_show() -> None:
    carried = seen(metrics=CARRIED_ON)
    assert rewards.rows(carried) == proxy.rows(carried) == agreement.rows(carried) == []
    assert lengths.rows(carried) == []


def test_gold_and_reward_are_means_over_responses_that_have_both() -> None:
    table_ = GENERATIONS.set_column(
        2, "gold", pa.array([0.0, 0.5, 1.0, None], tables.GENERATIONS.kinds["gold"])
    )
    rows = proxy.rows(seen(generations=table_))
    # Three responses: gold (0 + 0.5 + 1) / 3, reward (-1 + 0 + 1) / 3; too few for tenths.
    assert picked(rows, "kind", "mean") == [("gold", 0.5), ("reward", 0.0)]


def test_gold_by_tenth_of_the_reward_begins_with_the_lowest() -> None:
    generations = table(
        tables.GENERATIONS,
        prompt_id=[str(place) for place in range(20)],
        gold=[1.0] * 2 + [0.0] * 18,
        reward_r0=[float(-place) for place in range(20)],
    )
    tenths = of_kind(proxy.rows(seen(generations=generations)), "tenth")
    assert picked(tenths, "tenth", "mean") == [*((tenth, 0.0) for tenth in range(1, 10)), (10, 1.0)]


def test_responses_without_gold_have_no_rows() -> None:
    bare = GENERATIONS.set_column(2, "gold", pa.nulls(4, tables.GENERATIONS.kinds["gold"]))
    assert proxy.rows(seen(generations=bare)) == []


def test_agreement_is_of_all_own_samples_and_by_instruction() -> None:
    rows = agreement.rows(seen())
    # r_0 is right on both pairs; r_t is wrong on a's, and b's has a side without a reward.
    assert picked(rows, "model", "instruction", "right", "pairs") == [
        ("r_t", "all pairs", 0.0, 2),
        ("r_t", "punctuation:no_comma", 0.0, 2),
        ("r_t", "startend:quotation", 0.0, 1),
        ("r_0", "all pairs", 1.0, 2),
        ("r_0", "punctuation:no_comma", 1.0, 2),
        ("r_0", "startend:quotation", 1.0, 1),
    ]


def test_at_the_start_there_is_only_one_reward_model() -> None:
    assert {row["model"] for row in agreement.rows(seen(0))} == {"r_0"}


def test_ten_instructions_with_the_most_pairs_are_shown() -> None:
    rows: Rows = [
        {"instruction": name, "pairs": pairs}
        for name, pairs in [("all pairs", 99), *((f"i{n:02}", n) for n in range(12))]
    ]
    shown = agreement.shown_types(rows)
    assert shown == ["all pairs", *(f"i{n:02}" for n in range(11, 1, -1))]


def test_lengths_of_responses_are_percentiles_and_a_mean() -> None:
    [row] = of_kind(lengths.rows(seen()), "answers")
    assert (row["mean"], row["p25"], row["p50"], row["p75"]) == (25.0, 17.5, 25.0, 32.5)


def test_a_run_that_had_stopped_before_has_curves_without_rows() -> None:
    assert training.rows(seen(dpo=pa.table({"step": pa.nulls(0), "loss": pa.nulls(0)}))) == []


def test_both_sides_of_a_kept_pair_are_points_at_their_length_and_reward() -> None:
    rows = lengths.rows(
        seen(
            responses=table(tables.RESPONSES, length_tokens=[5, 9, 7, 8]),
            rewards=table(tables.REWARDS, reward=[1.0, 3.0, None, 2.0]),
            ranked_pairs=table(
                tables.RANKED_PAIRS,
                kept=[True, False],
                chosen_index=[1, None],
                rejected_index=[0, None],
            ),
        )
    )
    assert picked(of_kind(rows, "chosen"), "length", "reward") == [(9, 3.0)]
    assert picked(of_kind(rows, "rejected"), "length", "reward") == [(5, 1.0)]
    # Three responses have a reward: a group each, by length.
    assert picked(of_kind(rows, "mean"), "length", "reward") == [(5, 1.0), (8, 2.0), (9, 3.0)]


def pseudo_pairs(**more: Sequence[object]) -> pa.Table:
    """Make 24 pairs with margins -4, -3, …, 19; the first three are dropped.

    Gold prefers the newer response of the first twelve and the older one of the last; of the others
    it is alike, and of one of them it is not known.
    """
    return table(
        tables.PSEUDO_PAIRS,
        reward_margin=[float(place - 4) for place in range(24)],
        kept=[place >= 3 for place in range(24)],
        gold=[1.0] * 22 + [None, 0.0],
        previous_gold=[0.5] * 12 + [1.0] * 12,
        **more,
    )


def test_no_bin_has_pairs_on_both_sides_of_the_filter() -> None:
    metrics = {"build_pairs": {"tolerance": 1.5}}
    bins = of_kind(margins.rows(seen(metrics=metrics, pseudo_pairs=pseudo_pairs())), "bin")
    dropped = [row for row in bins if row["fate"] == "dropped"]
    kept = [row for row in bins if row["fate"] == "kept"]
    assert sum(count(row) for row in dropped) == 3
    assert sum(count(row) for row in kept) == 21
    assert all(float(str(row["to"])) <= -1.5 for row in dropped)
    assert all(float(str(row["from"])) >= -1.5 for row in kept)


def count(row: Row) -> int:
    return int(str(row["pairs"]))


def test_labels_are_right_where_gold_finds_the_newer_answer_better() -> None:
    labels = of_kind(margins.rows(seen(pseudo_pairs=pseudo_pairs())), "label")
    # 13 pairs have gold that differs: one group, of which 12 are right.
    assert picked(labels, "n", "right") == [(13, float(f"{12 / 13:.6g}"))]
    assert labels[0]["margin"] == 2.0  # the median of -4, …, 7 and 19


def test_a_label_that_chose_the_older_answer_is_right_where_that_is_better() -> None:
    chosen = ["response"] * 23 + ["previous_response"]
    [row] = of_kind(margins.rows(seen(pseudo_pairs=pseudo_pairs(chosen=chosen))), "label")
    assert row["right"] == 1.0


def test_pairs_without_gold_have_margins_and_no_labels() -> None:
    bare = pseudo_pairs().set_column(2, "gold", pa.nulls(24, pa.float64()))
    assert {row["kind"] for row in margins.rows(seen(pseudo_pairs=bare))} == {"bin"}


def test_curves_show_the_numbers_that_were_logged() -> None:
    curve = pa.table({"step": [1, 2], "loss": [0.7, 0.5], "grad_norm": [2.0, None]})
    rows = training.rows(seen(train_rm=curve))
    assert picked(rows, "model", "number", "step", "value") == [
        ("reward model", "loss", 1.0, 0.7),
        ("reward model", "loss", 2.0, 0.5),
        ("reward model", "gradient norm", 1.0, 2.0),
        ("reward model", "gradient norm", 2.0, None),
    ]


@pytest.mark.parametrize(
    ("seconds", "unit"), [(299.0, "seconds"), (300.0, "minutes"), (18_000.0, "hours")]
)
def test_unit_of_time_leaves_at_least_five_of_it(seconds: float, unit: str) -> None:
    assert costs.unit_of(seconds).name == unit


def test_stages_stand_by_their_time_over_all_iterations() -> None:
    rows = costs.rows(
        {
            "dpo@1": {"seconds": 5.0, "peak_memory_gb": 2.0, "pairs": 9.0},
            "eval@1": {"seconds": 4.0},
            "eval@2": {"seconds": 4.0},
        }
    )
    assert costs.by_time(rows) == ["eval", "dpo"]
    assert {row["number"] for row in rows} == {"seconds", "peak_memory_gb"}


def test_rows_of_a_large_run_are_as_many_as_those_of_a_small_one() -> None:
    def counted(prompts: int) -> dict[str, int]:
        one = Past(1, {}, **large_pictures.evaluated(), **large_pictures.stepped(prompts))
        modules = (lengths, margins, training)
        return {module.NAME: len(module.rows(Seen(one, 1, 0.6))) for module in modules}

    small, large = counted(1_000), counted(10_000)
    # 12 means, both sides of 100 pairs, 1 row of lengths; nine lines of 120 points.
    assert small["lengths"] == large["lengths"] == 12 + 2 * 100 + 1
    assert small["training"] == large["training"] == 9 * 120
    # At most two fates of some 32 bins, and 8 groups.
    assert max(small["margins"], large["margins"]) <= 2 * 32 + 8
