"""The numbers of eval.json, worked by hand from a few responses, judgements and scores."""

import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from mutual_taught.artifacts import tables
from mutual_taught.evaluation.intervals import Metrics
from mutual_taught.evaluation.judge import Systems, judge
from mutual_taught.evaluation.metrics import distinct_2, policy_metrics
from mutual_taught.evaluation.reward_metrics import reward_model_metrics
from mutual_taught.method.length_control import lc_minimal
from tests.evaluation.responses import generations, golds

GOLD = "reward_model.gold_pairs"
OWN = "reward_model.own_samples"


def measured(own: pa.Table, base: pa.Table | None = None) -> Metrics:
    systems = Systems(own, own if base is None else base, own)
    return policy_metrics(systems, judge(systems), 1)


def test_lengths_are_described_by_mean_median_and_95th_percentile() -> None:
    found = measured(generations(*({"length_tokens": length} for length in (10, 1, 3, 2))))
    # sorted 1, 2, 3, 10: mean 16 / 4; median between 2 and 3; 0.95 * 3 = 2.85 steps from the
    # first, so 3 + 0.85 * (10 - 3)
    assert found["policy.length_tokens.mean"] == 4.0
    assert found["policy.length_tokens.median"] == 2.5
    assert found["policy.length_tokens.p95"] == pytest.approx(8.95)


def test_cut_and_blank_responses_are_shares_of_all() -> None:
    own = generations({"finish_reason": "length"}, {"response": " \n"}, {"response": ""}, {})
    found = measured(own)
    # one of four was cut at the limit, two of four hold nothing but white space
    assert (found["policy.truncated_rate"], found["policy.empty_rate"]) == (0.25, 0.5)


def test_gold_change_is_the_mean_of_differences_response_by_response() -> None:
    own = generations(*golds(1.0, 0.5, prompt="a"), *golds(1.0, 0.0, prompt="b"))
    base = generations(*golds(0.5, 0.5, prompt="a"), *golds(0.0, 0.5, prompt="b"))
    found = measured(own, base)
    # own 2.5 / 4, two of four follow all; differences 1/2, 0, 1, -1/2: mean 1/4
    assert found["policy.gold.mean"] == 0.625
    assert found["policy.gold.pass_rate"] == 0.5
    assert found["policy.gold_vs_base.mean"] == 0.25
    # both prompts' means are 1/4, so the change of any two drawn is 1/4, too
    assert (found["policy.gold_vs_base.ci_lo"], found["policy.gold_vs_base.ci_hi"]) == (0.25, 0.25)
    # of the four flips of (1/4, 1/4), two have |mean| 1/4: p = 1/2
    assert found["policy.gold_vs_base.p"] == pytest.approx(0.5, abs=0.02)


def test_interval_of_gold_resamples_prompts_not_responses() -> None:
    found = measured(generations(*golds(0.0, 1.0)))
    # one prompt, drawn whole every time, is always 1/2; responses alone would give 0 to 1
    assert [found[f"policy.gold.{name}"] for name in ("mean", "ci_lo", "ci_hi")] == [0.5, 0.5, 0.5]


def test_n_counts_the_responses_of_a_mean_and_prompts_what_its_interval_resamples() -> None:
    found = measured(generations(*golds(0.0, 1.0, 1.0, prompt="a"), *golds(1.0, prompt="b")))
    assert (found["policy.gold.n"], found["policy.gold.prompts"]) == (4.0, 2.0)


def test_gold_is_over_the_prompts_that_have_instructions() -> None:
    own = generations(*golds(1.0, prompt="a"), *golds(None, prompt="b"))
    assert measured(own)["policy.gold.mean"] == 1.0
    assert measured(own)["policy.gold.n"] == 1.0


def test_without_instructions_there_is_no_gold_and_no_win_rate_by_it() -> None:
    found = measured(generations(*golds(None)))
    assert not [name for name in found if "gold" in name or "verifiable" in name]


def test_win_rate_counts_a_tie_as_half() -> None:
    own = generations(*({"reward_r0": reward} for reward in (1.0, 1.0, 1.0, 1.0)))
    base = generations(*({"reward_r0": reward} for reward in (0.0, 0.0, 1.0, 2.0)))
    found = measured(own, base)
    # won, won, tied, lost: 2.5 / 4
    assert found["policy.win_rate.vs_base.reward_model.mean"] == 0.625
    assert found["policy.win_rate.vs_base.reward_model.ties"] == 1.0
    # against itself, every duel is a tie
    assert found["policy.win_rate.vs_previous.reward_model.mean"] == 0.5
    assert found["policy.win_rate.vs_previous.reward_model.ties"] == 4.0


def test_ties_of_a_win_rate_count_what_its_n_counts() -> None:
    own = generations(*golds(1.0, 1.0, 0.5, prompt="a"), *golds(1.0, prompt="b"))
    base = generations(*golds(1.0, 0.0, 0.5, prompt="a"), *golds(1.0, prompt="b"))
    found, name = measured(own, base), "policy.win_rate.vs_base.verifiable"
    # of four responses to two prompts three tie and one wins
    assert [found[f"{name}.{part}"] for part in ("n", "ties", "prompts")] == [4.0, 3.0, 2.0]
    assert found[f"{name}.mean"] == 0.625


def test_p_of_a_win_rate_flips_whole_prompts_around_one_half() -> None:
    own = generations(*golds(1.0, 1.0, prompt="a"), *golds(1.0, 1.0, prompt="b"))
    base = generations(*golds(0.0, 0.0, prompt="a"), *golds(0.0, 0.0, prompt="b"))
    found = measured(own, base)
    # each prompt is 1/2 above one half; of its four flips two are as far from 0
    assert found["policy.win_rate.vs_base.verifiable.p"] == pytest.approx(0.5, abs=0.02)
    # against itself all are ties, and every flip is as far from 0
    assert found["policy.win_rate.vs_previous.verifiable.p"] == 1.0


def test_length_that_is_controlled_is_that_of_both_texts_in_characters() -> None:
    own = generations({"reward_r0": 1.0, "response": "longer"}, {"response": "ab"}, {})
    base = generations({"response": "abc"}, {"response": "abcd"}, {"reward_r0": 1.0})
    found = measured(own, base)["policy.win_rate.vs_base.reward_model.lc_minimal"]
    # won with 6 against 3, tied with 2 against 4, lost with 4 against 4
    lengths = np.array([6, 2, 4]), np.array([3, 4, 4])
    assert found == lc_minimal(np.array([1.0, 0.5, 0.0]), *lengths)
    assert found != 0.5  # the win rate as it is


def test_mean_reward_has_an_interval_over_the_responses_that_have_one() -> None:
    own = generations(
        *({"prompt_id": name, "reward_r0": reward} for name, reward in (("a", 1.0), ("b", 3.0))),
        {"prompt_id": "c", "reward_r0": None},
    )
    found = measured(own)
    # the prompts drawn are a and a, b and b, or both: means 1, 3 and 2
    assert [found[f"policy.reward.r0.{name}"] for name in ("mean", "ci_lo", "ci_hi")] == [2, 1, 3]
    assert (found["policy.reward.r0.n"], found["policy.reward.r0.prompts"]) == (2.0, 2.0)


def test_changes_are_from_the_base_and_from_the_policy_before() -> None:
    own, base, previous = (
        generations({"gold": gold, "passed": False, "reward_r0": reward, "length_tokens": length})
        for gold, reward, length in ((0.5, 3.0, 20), (0.0, -1.0, 30), (0.75, 4.0, 16))
    )
    systems = Systems(own, base, previous)
    found = policy_metrics(systems, judge(systems), 1)
    expected = {
        "gold_vs_base": 0.5,  # 0.5 - 0
        "gold_vs_previous": -0.25,  # 0.5 - 0.75
        "reward.r0_vs_base": 4.0,  # 3 + 1
        "reward.r0_vs_previous": -1.0,  # 3 - 4
        "length_tokens_vs_base": -10.0,  # 20 - 30
        "length_tokens_vs_previous": 4.0,  # 20 - 16
    }
    assert {name: found[f"policy.{name}.mean"] for name in expected} == expected


def test_change_of_rewards_is_over_the_responses_that_have_both() -> None:
    own = generations(*({"reward_r0": reward} for reward in (3.0, None, 5.0)))
    base = generations(*({"reward_r0": reward} for reward in (1.0, 1.0, None)))
    found = measured(own, base)
    assert found["policy.reward.r0_vs_base.mean"] == 2.0
    assert found["policy.reward.r0_vs_base.n"] == 1.0


def test_kl_is_the_mean_log_ratio_of_whole_responses_and_also_a_token() -> None:
    own = generations(
        {"logprob": -2.0, "base_logprob": -5.0, "length_tokens": 1},
        {"logprob": -3.0, "base_logprob": -4.0, "length_tokens": 7},
    )
    found = measured(own)
    # 3 and 1 nats: mean 2; 4 nats over 8 tokens
    assert found["policy.kl.k1.mean"] == 2.0
    assert found["policy.kl.k1_per_token"] == 0.5


def test_over_optimisation_is_what_the_teacher_sees_beyond_gold() -> None:
    own = generations(
        {"gold": 0.0, "reward_previous": 2.0}, {"gold": 1.0, "reward_previous": 2.0}, {}
    )
    previous = generations({"gold": 1.0, "reward_rt": 1.0}, {"gold": 0.0, "reward_rt": 1.0}, {})
    systems = Systems(own, own, previous)
    found = policy_metrics(systems, judge(systems), 1)
    # r_{t-1} finds both better: 1, 1. Gold: lost and won: 0, 1. The third has no gold.
    assert found["policy.win_rate.vs_previous.previous_reward_model.mean"] == pytest.approx(2.5 / 3)
    assert found["policy.over_optimisation.mean"] == 0.5
    assert found["policy.over_optimisation.n"] == 2.0


def test_judges_that_taught_the_policy_are_not_independent() -> None:
    found = measured(generations(*golds(1.0)))
    said = {name for name, value in found.items() if name.endswith(".independent") and value == 0}
    assert said == {
        "policy.win_rate.vs_base.reward_model.independent",
        "policy.win_rate.vs_previous.reward_model.independent",
        "policy.win_rate.vs_previous.previous_reward_model.independent",
    }


def test_distinct_2_is_the_share_of_word_pairs_said_once() -> None:
    # a b, b a, a b: two distinct of three
    assert distinct_2(["a b a b"]) == pytest.approx(2 / 3)
    # the same response twice: a b, a b
    assert distinct_2(["a b", "a b"]) == 0.5
    # b a would be a pair only across two responses
    assert distinct_2(["a b", "a c"]) == 1.0


def test_distinct_2_of_responses_without_two_words_is_zero() -> None:
    assert distinct_2([]) == distinct_2(["", "red"]) == 0.0


def scores(
    pairs: str, model: str, *rewards: tuple[float, float], lengths: tuple[int, int] = (1, 1)
) -> list[dict[str, Any]]:
    """Give rows of `rm_scores`: each pair is of a prompt of its own."""
    return [
        {
            "set": pairs,
            "pair_id": f"{number}",
            "subset": pairs,
            "prompt_id": f"p{number}",
            "reward_model": model,
            "reward_chosen": chosen,
            "reward_rejected": rejected,
            "length_chosen": lengths[0],
            "length_rejected": lengths[1],
        }
        for number, (chosen, rejected) in enumerate(rewards)
    ]


def of(*parts: list[dict[str, Any]]) -> Metrics:
    rows = [row for part in parts for row in part]
    return reward_model_metrics(pa.Table.from_pylist(rows, tables.RM_SCORES.schema), 1)


def test_reward_model_is_right_where_the_chosen_response_has_the_higher_reward() -> None:
    found = of(scores("gold_pairs", "rt", (3.0, 1.0), (1.0, 1.0), (0.0, 1.0), (1.0, 0.0)))
    # margins 2, 0, -1, 1: two of four are right, the tie is not; mean margin 2 / 4
    assert (found[f"{GOLD}.accuracy"], found[f"{GOLD}.ties"]) == (0.5, 1.0)
    assert (found[f"{GOLD}.margin"], found[f"{GOLD}.n"]) == (0.5, 4.0)
    losses = (math.log1p(math.exp(-margin)) for margin in (2, 0, -1, 1))
    assert found[f"{GOLD}.log_loss"] == pytest.approx(sum(losses) / 4)


def test_accuracy_is_told_apart_by_which_response_is_longer() -> None:
    # a reward model that knows length only: right on the longer chosen, wrong on the shorter
    found = of(
        scores("gold_pairs", "rt", (2.0, 1.0), lengths=(9, 4)),
        [{**row, "pair_id": "x"} for row in scores("gold_pairs", "rt", (1, 2), lengths=(4, 9))],
        # of equal length: in neither of the two, and wrong
        [{**row, "pair_id": "y"} for row in scores("gold_pairs", "rt", (1, 2), lengths=(4, 4))],
    )
    assert found[f"{GOLD}.accuracy_chosen_longer"] == 1.0
    assert found[f"{GOLD}.accuracy_chosen_shorter"] == 0.0
    assert found[f"{GOLD}.accuracy"] == pytest.approx(1 / 3)


def test_calibration_error_is_of_the_margins() -> None:
    # four of five pairs right, each at confidence 0.8
    margin = math.log(0.8 / 0.2)
    found = of(scores("gold_pairs", "rt", *[(margin, 0.0)] * 4, (0.0, margin)))
    assert found[f"{GOLD}.ece"] == pytest.approx(0.0)
    # all five right, at confidence 0.8
    found = of(scores("gold_pairs", "rt", *[(margin, 0.0)] * 5))
    assert found[f"{GOLD}.ece"] == pytest.approx(0.2)


def test_correlation_of_reward_and_length_is_over_both_sides() -> None:
    longer = scores("gold_pairs", "rt", (2.0, 1.0), (3.0, 0.0), lengths=(9, 4))
    # lengths 9, 9, 4, 4 have ranks 2.5, 2.5, 0.5, 0.5, rewards 2, 3, 1, 0 ranks of the same names:
    # off their means 1.5, 1, 1, -1, -1 and 0.5, 1.5, -0.5, -1.5: 4 / sqrt(4 * 5)
    assert of(longer)[f"{GOLD}.length_spearman"] == pytest.approx(4 / math.sqrt(20))
    shorter = scores("gold_pairs", "rt", (2.0, 1.0), (3.0, 0.0), lengths=(4, 9))
    assert of(shorter)[f"{GOLD}.length_spearman"] == pytest.approx(-4 / math.sqrt(20))


def test_difference_of_reward_models_has_a_p() -> None:
    right, wrong = (1.0, 0.0), (0.0, 1.0)
    found = of(scores("own_samples", "rt", right, right), scores("own_samples", "r0", wrong, wrong))
    # differences 1 and 1: two of their four flips are as far from 0
    assert found[f"{OWN}.difference.p"] == pytest.approx(0.5, abs=0.02)


def test_n_of_a_reward_model_counts_pairs_and_prompts_counts_prompts() -> None:
    rows = [{**row, "prompt_id": "p"} for row in scores("own_samples", "rt", (1, 0), (0, 1))]
    found = of(rows, [{**row, "reward_model": "r0"} for row in rows])
    assert (found[f"{OWN}.rt.n"], found[f"{OWN}.rt.prompts"]) == (2.0, 1.0)
    assert (found[f"{OWN}.difference.n"], found[f"{OWN}.difference.prompts"]) == (2.0, 1.0)


def test_accuracy_over_no_pair_is_none() -> None:
    found = of(scores("gold_pairs", "rt", (2.0, 1.0), lengths=(9, 4)))
    assert found[f"{GOLD}.accuracy_chosen_shorter"] is None


def test_difference_is_how_much_more_often_r_t_is_right_than_r_0() -> None:
    right, wrong = (1.0, 0.0), (0.0, 1.0)
    found = of(
        scores("own_samples", "rt", right, right, right, wrong),
        scores("own_samples", "r0", wrong, wrong, right, right),
    )
    # r_t 3 / 4, r_0 2 / 4; pair by pair 1, 1, 0, -1: mean 1/4
    assert (found[f"{OWN}.rt.accuracy"], found[f"{OWN}.r0.accuracy"]) == (0.75, 0.5)
    assert found[f"{OWN}.difference.mean"] == 0.25


def test_gold_pairs_and_own_samples_are_measured_apart() -> None:
    found = of(
        scores("gold_pairs", "rt", (1.0, 0.0)),
        scores("gold_pairs", "r0", (0.0, 1.0)),
        scores("own_samples", "rt", (0.0, 1.0), (1.0, 0.0)),
    )
    # r_t on gold pairs goes without its name; without r_0 there is no difference
    assert (found[f"{GOLD}.accuracy"], found[f"{GOLD}.r0.accuracy"]) == (1.0, 0.0)
    assert found[f"{GOLD}.difference.mean"] == 1.0
    assert found[f"{OWN}.rt.accuracy"] == 0.5
    assert f"{OWN}.difference.mean" not in found


def test_numbers_of_reward_models_do_not_depend_on_the_order_of_rows() -> None:
    chance = np.random.default_rng(0)
    rows = [
        {
            "set": name,
            "pair_id": f"{number:04d}",
            "subset": name,
            "prompt_id": f"p{number % 7}",
            "reward_model": model,
            "reward_chosen": chance.normal(),
            "reward_rejected": chance.normal(),
            "length_chosen": number % 5,
            "length_rejected": number % 3,
        }
        for name in ("gold_pairs", "own_samples")
        for model in ("rt", "r0")
        for number in range(99)
    ]
    scores = pa.Table.from_pylist(rows, tables.RM_SCORES.schema)
    expected = reward_model_metrics(scores, 1)
    for seed in range(5):
        order = np.random.default_rng(seed).permutation(len(scores))
        assert reward_model_metrics(scores.take(pa.array(order)), 1) == expected
