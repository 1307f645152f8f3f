"""Both models before and after: paired differences on the same responses and pairs."""

import numpy as np
import pyarrow as pa
import pytest

from mutual_taught.report import before_after
from mutual_taught.report.past import Past


def generations(gold: list[float | None], r0: list[float], tokens: list[int]) -> pa.Table:
    return pa.table(
        {
            "prompt_id": ["a", "a", "b"],
            "response_index": [0, 1, 0],
            "length_tokens": tokens,
            "gold": pa.array(gold, pa.float64()),
            "passed": pa.array([None if g is None else g == 1 for g in gold], pa.bool_()),
            "reward_r0": r0,
        }
    )


def test_difference_is_over_the_same_responses_and_p_over_prompts() -> None:
    prompts = np.array(["a", "a", "b"])
    before, after = np.array([0.0, 0.5, 1.0]), np.array([1.0, 0.5, 1.0])
    change = before_after.paired("gold", before, after, prompts, 1)
    assert change.before.mean == 0.5  # 1.5 / 3
    assert change.difference.mean == pytest.approx(1 / 3)  # 1, 0, 0
    assert change.difference.n == 2
    # Of prompt means 0.5 and 0 the mean is 0.25 under either sign: every flip is as far.
    assert change.p == 1.0
    assert not change.clear


@pytest.mark.parametrize(("prompts", "clear"), [(1, False), (5, False), (6, True)])
def test_difference_of_very_few_prompts_is_not_clear(prompts: int, clear: bool) -> None:
    # All differences are above 0, so the interval is, too. p is near 2 / 2^prompts: 1 / 32 of six.
    after = np.linspace(0.1, 0.3, prompts)
    names = np.array([f"p{number}" for number in range(prompts)])
    change = before_after.paired("gold", np.zeros(prompts), after, names, 1)
    assert change.difference.ci_lo > 0
    assert change.clear == clear


def test_policy_is_compared_where_both_sides_have_the_number() -> None:
    start = Past(0, {}, generations=generations([0.0, None, 1.0], [1.0, 1.0, 1.0], [4, 4, 4]))
    end = Past(1, {}, generations=generations([1.0, 1.0, 1.0], [3.0, 3.0, 3.0], [1, 2, 3]))
    found = {change.name: change for change in before_after.policy([start, end], 1)}
    assert list(found) == [
        "gold",
        "all instructions followed",
        "mean reward, r_0",
        "length, tokens",
    ]
    assert found["gold"].difference.mean == 0.5  # of a's response 0 and b's: 1, 0
    assert found["mean reward, r_0"].difference == (2.0, 2.0, 2.0, 2)
    assert not found["mean reward, r_0"].clear  # of two prompts every p is 0.5 at least
    assert found["length, tokens"].difference.mean == -2.0  # -3, -2, -1


def test_own_prompts_without_gold_have_no_row_of_gold() -> None:
    none: list[float | None] = [None, None, None]
    past = [Past(t, {}, generations=generations(none, [t, t, t], [1, 1, 1])) for t in (0, 1)]
    assert [change.name for change in before_after.policy(past, 1)] == [
        "mean reward, r_0",
        "length, tokens",
    ]
    assert before_after.policy(past[:1], 1) == []


def scores(own: list[float], base: list[float]) -> pa.Table:
    size = len(own)
    return pa.table(
        {
            "set": ["gold_pairs"] * 2 * size,
            "pair_id": [f"{place}" for place in range(size)] * 2,
            "prompt_id": [f"p{place}" for place in range(size)] * 2,
            "reward_model": ["rt"] * size + ["r0"] * size,
            "reward_chosen": [*own, *base],
            "reward_rejected": [0.0] * 2 * size,
        }
    )


def test_reward_models_are_compared_on_the_same_pairs() -> None:
    past = [
        Past(0, {}),
        Past(1, {}, rm_scores=scores([1.0, 1.0, -1.0, 1.0], [1.0, -1.0, -1.0, -1.0])),
    ]
    [change] = before_after.reward_model(past, 1)
    assert change.name == "right on gold pairs"
    assert (change.before.mean, change.after.mean) == (0.25, 0.75)
    assert change.difference.mean == 0.5
    # Differences 0, 1, 0, 1: half of the flips have both signs alike, and are as far.
    assert change.p == pytest.approx(0.5, abs=0.02)


def test_final_iteration_is_the_last_that_went_on() -> None:
    went, stopped = {"select_policy": {"active": 1.0}}, {"select_policy": {"active": 0.0}}
    assert before_after.final([Past(0, {}), Past(1, went), Past(2, stopped)]) == 1
    assert before_after.final([Past(0, {}), Past(1, stopped)]) == 0
