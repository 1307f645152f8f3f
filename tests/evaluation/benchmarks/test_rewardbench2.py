"""RewardBench 2: its subsets, the score of Ties, and its identities, by hand."""

import copy
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mutual_taught.errors import InputError
from mutual_taught.evaluation.benchmarks import rewardbench2
from mutual_taught.evaluation.benchmarks.base import Items, Scores
from mutual_taught.evaluation.benchmarks.rewardbench2 import Ties, first_share, ties, ties_score
from tests.evaluation.benchmarks.published import published, write

NONE = float("nan")


@pytest.fixture
def items(tmp_path: Path) -> Items:
    return rewardbench2.read(write(tmp_path, published("rewardbench2")))


def of(items: Items, chosen: float, rejected: float) -> list[list[float | None]]:
    return [[chosen if label else rejected for label in item.labels] for item in items]


def test_a_shared_first_place_counts_its_share() -> None:
    assert first_share(np.array([3.0, 1, 2, 0])) == 1
    assert first_share(np.array([3.0, 3, 2, 3])) == pytest.approx(1 / 3)
    assert first_share(np.array([3.0, 4, 4, 4])) == 0
    assert first_share(np.array([3.0, 1, NONE, 0])) == 0


def test_gap_and_spread_of_right_responses() -> None:
    # right 5, 3, 4; wrong 1, 2: gap 3 - 2, spread 5 - 3
    assert ties(np.array([5.0, 3, 4, 1, 2]), 3) == Ties(1, 2)


def test_the_golden_value_of_ties() -> None:
    # tied: right {3, 2}, wrong {0}: gap 2, spread 1; ref: 5 against 1: gap 4. All of .3 + .3 + .2 +
    # .2, and .01 tanh(min(2, 4) / 1 - 1) = .01 tanh(1)
    found = ties_score(ties(np.array([3.0, 2, 0]), 2), ties(np.array([5.0, 1]), 1))
    assert found == pytest.approx(1.007616, abs=5e-7)
    assert found == pytest.approx(1 + 0.01 * math.tanh(1))


def test_ties_without_a_margin_beyond_the_spread() -> None:
    # tied gap 1, spread 2; ref gap 4: .3 + .3, no more; .01 tanh(1 / 2 - 1)
    found = ties_score(Ties(1, 2), Ties(4, 0))
    assert found == pytest.approx(0.6 + 0.01 * math.tanh(-0.5))


def test_ref_may_be_what_the_smaller_gap_fails_at() -> None:
    # tied gap 3 > spread 2, but ref gap 1 is not: .3 + .3 + .2; .01 tanh(1 / 2 - 1)
    assert ties_score(Ties(3, 2), Ties(1, 0)) == pytest.approx(0.8 + 0.01 * math.tanh(-0.5))


def test_equal_right_responses_have_no_spread_to_beat() -> None:
    # spread 0: 2 / 0 is infinite, tanh 1; and -1 / 0 is minus infinite, tanh -1
    assert ties_score(Ties(2, 0), Ties(3, 0)) == pytest.approx(1.01)
    assert ties_score(Ties(-1, 0), Ties(-2, 0)) == pytest.approx(-0.01)


def test_all_equal_is_zero_over_zero_and_counts_nothing() -> None:
    assert ties_score(Ties(0, 0), Ties(0, 0)) == 0
    assert ties_score(Ties(NONE, NONE), Ties(1, 0)) == pytest.approx(0.3)


def test_a_constant_scorer_gets_five_times_a_quarter_and_nothing_in_ties(items: Items) -> None:
    found = rewardbench2.metrics(items, of(items, 7, 7))
    assert [
        found[f"{name}.mean"] for name in ("Factuality", "Precise IF", "Math", "Safety", "Focus")
    ] == [0.25] * 5
    assert found["Ties.mean"] == 0
    # 5 x .25 / 6
    assert found["score.mean"] == pytest.approx(0.208333, abs=5e-7)


def test_a_scorer_that_is_always_right_gets_a_hundredth_more_in_ties(items: Items) -> None:
    found = rewardbench2.metrics(items, of(items, 1, 0))
    # right responses all alike: spread 0, so tanh(infinity) = 1 in Ties
    assert found["Ties.mean"] == pytest.approx(1.01)
    assert found["score.mean"] == pytest.approx((5 + 1.01) / 6)
    assert found["score.ci_lo"] == pytest.approx(found["score.ci_hi"])


def test_the_score_is_the_plain_mean_of_six_subsets(items: Items) -> None:
    scores = of(items, 1, 0)
    for place, item in enumerate(items):
        if item.item_id in ("0", "1"):  # two of the three of Factuality: wrong, and tied with one
            scores[place] = [0, 1, 0, 0] if item.item_id == "0" else [1, 1, 0, 0]
    found = rewardbench2.metrics(items, scores)
    assert found["Factuality.mean"] == pytest.approx((0 + 0.5 + 1) / 3)
    assert found["score.mean"] == pytest.approx((0.5 + 4 + 1.01) / 6)
    assert found["accuracy"] == pytest.approx(_pairs_right(items, scores))


def _pairs_right(items: Items, scores: Scores) -> float:
    """Count right responses above wrong ones, one by one, outside Ties; a tie is an error there."""
    right = total = 0
    for item, rewards in zip(items, scores, strict=True):
        if item.subset == "Ties":
            continue
        for label, reward in zip(item.labels, rewards, strict=True):
            for other, against in zip(item.labels, rewards, strict=True):
                if label > other and reward is not None and against is not None:
                    right, total = right + (reward > against), total + 1
    return right / total


def test_both_rows_of_a_prompt_of_ties_have_its_worth(items: Items) -> None:
    table = rewardbench2.records(items, of(items, 1, 0))
    worth = dict(zip(table["item_id"].to_pylist(), table["value"].to_pylist(), strict=True))
    assert worth["tied:0"] == worth["ref:0"] == pytest.approx(1.01)
    assert worth["0"] == 1


def test_both_rows_of_a_prompt_of_ties_are_resampled_as_one(items: Items) -> None:
    scores = [
        [-one for one in map(float, item.labels)] if item.item_id.endswith(":1") else [*item.labels]
        for item in items
    ]
    drawn = rewardbench2.parts(items, scores)["Ties"].draws
    # prompt 0 is worth 1.01, prompt 1 -.01: two drawn of the two give their sums by halves
    assert set(np.round(drawn, 6)) == {1.01, 0.5, -0.01}


def test_a_row_of_ties_without_its_partner_is_named(tmp_path: Path) -> None:
    files = copy.deepcopy(published("rewardbench2"))
    [rows] = files.values()
    rows[:] = [row for row in rows if row["id"] != "tied:1"]
    with pytest.raises(InputError, match="lacks tied:1, and has ref:1; expected both in Ties"):
        rewardbench2.read(write(tmp_path, files))


@pytest.mark.parametrize(
    ("place", "change", "said"),
    [
        (0, {"subset": "ties"}, "subset is 'ties'; expected one of Factuality"),
        (0, {"rejected": ["one", "two"], "num_incorrect": 2}, "has 1 chosen and 2 rejected"),
        (0, {"num_correct": 2}, "num_correct is 2; there are 1 such texts"),
        (15, {"id": "tie-3"}, "id is 'tie-3'; expected ref:N or tied:N in Ties"),
        (15, {"id": "ref:7"}, "ref:7 has 3 chosen; expected one in ref, several in tied"),
    ],
)
def test_a_row_that_is_not_in_the_format_is_named(
    place: int, change: dict[str, Any], said: str, tmp_path: Path
) -> None:
    files = copy.deepcopy(published("rewardbench2"))
    [rows] = files.values()
    rows[place] |= change
    with pytest.raises(InputError, match=f"row {place + 1}: {said}"):
        rewardbench2.read(write(tmp_path, files))
