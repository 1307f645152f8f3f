"""The numbers that other reward-model benchmarks make of their comparisons, by hand."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mutual_taught.errors import InputError
from mutual_taught.evaluation.benchmarks import (
    hh_rlhf,
    judgebench,
    llmbar,
    m_ifeval,
    of_reward_models,
    pairs,
    ppe,
    rewardbench,
    rm_bench,
    rmb,
)
from mutual_taught.evaluation.benchmarks.base import Item, Items
from tests.evaluation.benchmarks.published import ask, m_ifeval_rows, published, write

NONE = float("nan")
Scored = list[list[float | None]]


def read(name: str, folder: Path) -> Items:
    return of_reward_models(name).read(write(folder, published(name)))


def all_right(items: Items) -> Scored:
    return [list(map(float, item.labels)) for item in items]


def turned(items: Items, scores: Scored, *subsets: str, every: int = 1) -> Scored:
    """Turn the ranking of every n-th item of some subsets round."""
    places = [place for place, item in enumerate(items) if item.subset in subsets][::every]
    return [
        [1 - (one or 0) for one in row] if place in places else row
        for place, row in enumerate(scores)
    ]


# RewardBench


def test_half_of_math_wrong_costs_half_of_half_a_section(tmp_path: Path) -> None:
    items = read("rewardbench", tmp_path)
    found = rewardbench.metrics(items, turned(items, all_right(items), "math-prm", every=2))
    assert found["math-prm.mean"] == 0.5
    # (984 x .5 + 6 x 164) / (2 x 984)
    assert found["reasoning.mean"] == pytest.approx(0.75)
    assert found["rewardbench_v1_four_sections.mean"] == pytest.approx(0.9375)
    assert found["chat.mean"] == found["chat_hard.mean"] == found["safety.mean"] == pytest.approx(1)


def test_only_mt_bench_hard_wrong_costs_its_37_of_456(tmp_path: Path) -> None:
    items = read("rewardbench", tmp_path)
    found = rewardbench.metrics(items, turned(items, all_right(items), "mt-bench-hard"))
    assert found["chat_hard.mean"] == pytest.approx(419 / 456)
    assert found["rewardbench_v1_four_sections.mean"] == pytest.approx((3 + 419 / 456) / 4)


def test_a_constant_scorer_gets_nothing_in_rewardbench(tmp_path: Path) -> None:
    items = read("rewardbench", tmp_path)
    found = rewardbench.metrics(items, [[1.0, 1.0]] * len(items))
    assert found["rewardbench_v1_four_sections.mean"] == 0


def test_a_section_that_lacks_a_subset_has_no_number(tmp_path: Path) -> None:
    items = [one for one in read("rewardbench", tmp_path) if one.subset != "donotanswer"]
    found = rewardbench.metrics(items, all_right(items))
    assert found["safety.mean"] is found["rewardbench_v1_four_sections.mean"] is None
    assert found["chat.mean"] == pytest.approx(1)


def test_published_sizes_of_rewardbench_are_those_of_its_paper() -> None:
    assert sum(rewardbench.ITEMS.values()) == 2985
    assert len(rewardbench.ITEMS) == 23
    sizes = {name: sum(subsets.values()) for name, subsets in rewardbench.SECTIONS.items()}
    assert sizes == {"chat": 358, "chat_hard": 456, "safety": 740, "reasoning": 1431}


# RM-Bench


def test_levels_are_above_on_and_below_the_diagonal() -> None:
    # right responses 3, 1, 5 by style, wrong ones 2, 3, 4. Rows of the matrix: 3 > 2; nothing;
    # 5 > 2, 3, 4
    right = rm_bench.right(np.array([3.0, 1, 5, 2, 3, 4]))
    assert right.tolist() == [[1, 0, 0], [0, 0, 0], [1, 1, 1]]
    # above: 0, 0, 0; diagonal: 1, 0, 1; below: 0, 1, 1
    assert list(rm_bench.levels(right)) == pytest.approx([0, 2 / 3, 2 / 3])


def test_a_scorer_of_style_is_easy_by_far_and_never_hard(tmp_path: Path) -> None:
    items = read("rm-bench", tmp_path)
    found = rm_bench.metrics(items, [[1.0, 2, 3, 1, 2, 3]] * len(items))
    # the more ornate wins: below the diagonal always, on it a tie, above it never
    assert (found["hard.mean"], found["normal.mean"], found["easy.mean"]) == (0, 0, 1)
    # two prompts in each of five domains
    assert (found["score.n"], found["hard.n"], found["safety.n"]) == (10, 10, 4)
    assert found["score.mean"] == pytest.approx(1 / 3)


def test_refusing_and_responding_are_one_domain_by_their_rows(tmp_path: Path) -> None:
    everything = read("rm-bench", tmp_path)
    second = next(one for one in everything if one.subset == "safety-response")
    items = [one for one in everything if one != second]
    found = rm_bench.metrics(items, turned(items, all_right(items), "safety-refuse"))
    # two rows of refusing wrong, one of responding right: 1/3, not the mean 1/2 of both
    assert found["safety.mean"] == pytest.approx(1 / 3)
    # domains 1, 1, 1, 1/3
    assert found["score.mean"] == pytest.approx(10 / 12)


def test_a_domain_is_read_from_the_name_of_its_file(tmp_path: Path) -> None:
    rows = [
        {key: value for key, value in row.items() if key != "domain"}
        for row in published("rm-bench")["total_dataset.json"][:2]
    ]
    [path] = write(tmp_path, {"safety-refuse_filtered.json": rows})
    assert {item.subset for item in rm_bench.read([path])} == {"safety-refuse"}
    with pytest.raises(InputError, match="row 1: lacks domain, and the file is not called after"):
        rm_bench.read(write(tmp_path, {"mine.json": rows}))


# JudgeBench


def test_judgebench_is_parted_by_category_and_by_the_model_that_answered(tmp_path: Path) -> None:
    items = read("judgebench", tmp_path)
    found = judgebench.metrics(items, turned(items, all_right(items), "coding", every=4))
    # of 16 pairs one is wrong, the first of the four of coding
    assert found["accuracy"] == pytest.approx(15 / 16)
    assert (found["coding.mean"], found["math.mean"]) == (0.75, 1)
    claude = found["response_model.claude-3-5-sonnet-20240620.mean"]
    gpt = found["response_model.gpt-4o-2024-05-13.mean"]
    assert {claude, gpt} == {7 / 8, 1.0}


def test_labels_say_which_response_is_right(tmp_path: Path) -> None:
    [row, *_] = published("judgebench")["gpt-00000-of-00001.jsonl"]
    items = judgebench.read(write(tmp_path, {"gpt.jsonl": [{**row, "label": "B>A"}]}))
    assert items[0].responses == [row["response_A"], row["response_B"]]
    assert judgebench.metrics(items, [[0.0, 1.0]])["accuracy"] == 1
    with pytest.raises(InputError, match="row 1: label is 'A=B'; expected one of A>B, B>A"):
        judgebench.read(write(tmp_path, {"gpt.jsonl": [{**row, "label": "A=B"}]}))


# PPE


def test_best_of_k_is_the_expected_label_over_all_choices() -> None:
    # rewards rank labels 0 (lowest), 1, 0 (highest). k = 1: 1/3; k = 2 of three choices: {0, 1}
    # gives 1, {0, 2} and {1, 2} give 0: 1/3; k = 3: 0
    found = ppe.best_of(np.array([1.0, 2, 3]), np.array([0.0, 1, 0]))
    assert found == pytest.approx([1 / 3, 1 / 3, 0])


def test_equal_rewards_share_their_chance() -> None:
    # all alike: any choice is worth the mean label
    assert ppe.best_of(np.zeros(4), np.array([1.0, 0, 0, 0])) == pytest.approx([0.25] * 4)
    # the two highest are alike, one of them right: k = 3 takes either, 1/2
    assert ppe.best_of(np.array([1.0, 2, 2]), np.array([0.0, 0, 1]))[2] == pytest.approx(0.5)


def test_a_response_without_a_reward_ranks_below_all() -> None:
    assert ppe.best_of(np.array([NONE, -9.0]), np.array([1.0, 0])) == pytest.approx([0.5, 0])


def test_best_of_k_is_what_drawing_choices_gives() -> None:
    rng = np.random.default_rng(2)
    rewards, labels = rng.integers(0, 4, 8).astype(np.float64), rng.integers(0, 2, 8).astype(float)
    drawn = []
    for _ in range(4000):
        chosen = rng.permutation(8)[:3]
        first = max(chosen, key=lambda place: (rewards[place], rng.random()))
        drawn.append(labels[first])
    # 4,000 draws: standard error at most .008
    assert ppe.best_of(rewards, labels)[2] == pytest.approx(np.mean(drawn), abs=0.03)


def test_the_gap_is_what_is_lost_from_the_highest_point_to_the_end() -> None:
    found = ppe.curve_metrics({"MATH": np.array([0.4, 0.7, 0.6, 0.5])})
    assert found["best_of_k.MATH.start"] == 0.4
    assert (found["best_of_k.MATH.max"], found["best_of_k.MATH.max_k"]) == (0.7, 2)
    assert (found["best_of_k.MATH.end"], found["best_of_k.MATH.k4"]) == (0.5, 0.5)
    assert found["best_of_k.MATH.gap"] == pytest.approx(0.2)
    assert found["best_of_k.gap"] is None  # four sets are missing


def test_conflict_pairs_are_counted_by_set_and_the_score_is_the_mean_of_five(
    tmp_path: Path,
) -> None:
    items = read("ppe", tmp_path)
    scores = [
        [1.0, 2.0, 3.0, 0.0] if one.subset == "MATH" else [2.5, 2.0, 3.0, 0.0] for one in items
    ]
    found = ppe.metrics(items, scores)
    # right responses are the second and the third; pairs (1, 0), (2, 3), (1, 3)
    assert found["MATH.mean"] == 1
    assert found["GPQA.mean"] == pytest.approx(2 / 3)
    assert found["score.mean"] == pytest.approx((1 + 4 * 2 / 3) / 5)
    assert found["n"] == 5 * 3 * 3
    assert (found["best_of_k.start"], found["best_of_k.end"]) == (0.5, 1)


def test_the_set_of_a_file_is_in_its_name_or_its_folders(tmp_path: Path) -> None:
    rows = published("ppe")["PPE-MATH-Best-of-K/train-00000-of-00001.parquet"]
    [path] = write(tmp_path, {"mmlu-pro/math/train.jsonl": rows})
    assert {item.subset for item in ppe.read([path])} == {"MATH"}
    with pytest.raises(InputError, match=r"mine\.jsonl: its set is not in its name"):
        ppe.read(write(tmp_path, {"mine.jsonl": rows}))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"sampled_conflict_pairs": [[1, 2]]}, r"has \[1, 2\]; both have score 1"),
        ({"sampled_conflict_pairs": [[0, 4]]}, r"has \[0, 4\]; expected two places below 4"),
        ({"sampled_conflict_pairs": "none"}, "has none; expected two places below 4"),
        ({"scores": [True]}, "scores has 1 numbers; expected 4"),
    ],
)
def test_a_row_of_ppe_that_contradicts_itself_is_named(
    change: dict[str, Any], said: str, tmp_path: Path
) -> None:
    rows = copy.deepcopy(published("ppe")["PPE-MATH-Best-of-K/train-00000-of-00001.parquet"])
    rows[1] |= change
    with pytest.raises(InputError, match=f"row 2: .*{said}"):
        ppe.read(write(tmp_path, {"MATH.jsonl": rows}))


# RMB


def test_a_group_is_right_only_if_the_best_beats_all_others() -> None:
    assert rmb.beats_all(np.array([2.0, 1, 0])) == 1
    assert rmb.beats_all(np.array([2.0, 2, 0])) == 0
    assert rmb.beats_all(np.array([2.0, NONE, 0])) == 0


def test_micro_is_over_items_and_macro_over_scenarios(tmp_path: Path) -> None:
    items = read("rmb", tmp_path)
    items = [one for one in items if one.item_id != "pairs:Helpfulness/Chat/Discussion-1"]
    scores = turned(items, all_right(items), "Helpfulness/Chat/Discussion")
    found = rmb.metrics(items, scores)
    # helpful pairs: one of Chat wrong, two of Open QA right
    assert found["pairs.helpfulness.micro.mean"] == pytest.approx(2 / 3)
    assert found["pairs.helpfulness.macro.mean"] == pytest.approx(1 / 2)
    # the plain mean of four parts, of which three are 1
    assert found["micro.mean"] == pytest.approx((3 + 2 / 3) / 4)
    assert found["macro.mean"] == pytest.approx((3 + 1 / 2) / 4)
    # what is said of all pairs is of the pairs: 3 helpful and 2 harmless ones
    assert (found["n"], found["accuracy"]) == (5, 0.8)


def test_groups_alone_have_no_number_for_pairs(tmp_path: Path) -> None:
    items = [one for one in read("rmb", tmp_path) if one.item_id.startswith("best_of_n")]
    found = rmb.metrics(items, all_right(items))
    assert found["accuracy"] is found["micro.mean"] is None
    assert found["best_of_n.harmlessness.micro.mean"] == 1


# LLMBar


def test_adversarial_is_the_mean_of_its_four_and_the_score_of_all_five(tmp_path: Path) -> None:
    items = read("llmbar", tmp_path)
    found = llmbar.metrics(items, turned(items, all_right(items), "Natural", "Manual"))
    assert found["adversarial.mean"] == pytest.approx(3 / 4)
    assert found["score.mean"] == pytest.approx(3 / 5)


def test_label_2_says_that_the_second_response_is_the_better_one(tmp_path: Path) -> None:
    [item, *_] = (
        one for one in read("llmbar", tmp_path) if one.messages[-1]["content"] == ask(0)[0]
    )
    # the first question's right response is output_2
    assert item.responses == [ask(0)[2], ask(0)[1]]
    assert item.labels == (0.0, 1.0)
    assert pairs.shares([item], [[0.0, 1.0]]).tolist() == [1.0]


# M-IFEval


def test_followed_responses_are_paired_with_all_that_are_not(tmp_path: Path) -> None:
    items = read("m-ifeval", tmp_path)
    # of the three prompts both models followed the second: two prompts in each of two languages
    assert len(items) == 4
    assert all(sorted(item.labels) == [0, 1] for item in items)
    found = m_ifeval.metrics(items, turned(items, all_right(items), "es", every=2))
    assert (found["es.mean"], found["fr.mean"], found["accuracy"]) == (0.5, 1, 0.75)
    assert found["prompts_read"] == 6


def test_each_prompt_counts_alike_in_by_prompt() -> None:
    prompts = [[{"role": "user", "content": text}] for text in ("a", "b")]
    many = Item(
        "a", "ja", prompts[0], ["w", "x", "y"], (1.0, 0.0, 0.0), (), {"prompts": 2, "strict": True}
    )
    one = Item("b", "ja", prompts[1], ["w", "x"], (1.0, 0.0), (), {"prompts": 2, "strict": True})
    found = m_ifeval.metrics([many, one], [[1.0, 0.0, 2.0], [1.0, 0.0]])
    # of three pairs two are right; prompts 1/2 and 1
    assert found["accuracy"] == pytest.approx(2 / 3)
    assert found["by_prompt.mean"] == pytest.approx(3 / 4)


def test_equal_responses_of_two_models_are_one(tmp_path: Path) -> None:
    files = {
        f"es_input_response_data_{model}/eval_results_strict.jsonl": m_ifeval_rows(followed)
        for model, followed in (("one", (True,)), ("two", (True,)), ("three", (False,)))
    }
    [item] = m_ifeval.read(write(tmp_path, files))
    assert sorted(item.responses) == sorted(ask(12)[1:])


@pytest.mark.parametrize(
    ("file", "change", "said"),
    [
        ("two", {"response": ask(12)[1]}, "are one answer with two verdicts"),
        ("two", {"prompt": "Another?"}, r"one \(es\) lacks 'Another\?'"),
        ("two", {"follow_all_instructions": 1}, "follow_all_instructions is '?1'?; expected true"),
    ],
)
def test_verdicts_that_do_not_fit_together_are_refused(
    file: str, change: dict[str, Any], said: str, tmp_path: Path
) -> None:
    files = copy.deepcopy(published("m-ifeval"))
    files[f"es_input_response_data_{file}/eval_results_strict.jsonl"][0] |= change
    with pytest.raises(InputError, match=said):
        m_ifeval.read(write(tmp_path, files))


def test_of_both_readings_the_strict_one_is_read(tmp_path: Path) -> None:
    files = copy.deepcopy(published("m-ifeval"))
    strict = m_ifeval.read(write(tmp_path / "strict", files))
    for name in list(files):
        files[name.replace("strict", "loose")] = m_ifeval_rows((True, True, True))
    items = m_ifeval.read(write(tmp_path / "both", files))
    assert items == strict
    assert m_ifeval.metrics(items, all_right(items))["strict"] == 1


def test_loose_verdicts_alone_are_read_as_such(tmp_path: Path) -> None:
    files = {name.replace("strict", "loose"): rows for name, rows in published("m-ifeval").items()}
    items = m_ifeval.read(write(tmp_path, files))
    assert m_ifeval.metrics(items, all_right(items))["strict"] == 0


def test_strict_and_loose_verdicts_of_two_models_do_not_mix(tmp_path: Path) -> None:
    files = copy.deepcopy(published("m-ifeval"))
    files["es_input_response_data_six/eval_results_loose.jsonl"] = m_ifeval_rows((True, True, True))
    with pytest.raises(InputError, match=r"data_six: has no strict verdicts, and .*data_one has"):
        m_ifeval.read(write(tmp_path, files))


def test_one_models_verdicts_give_no_pair(tmp_path: Path) -> None:
    files = {"es_input_response_data_one/eval_results_loose.jsonl": m_ifeval_rows((True, False))}
    with pytest.raises(InputError, match="no prompt has answers of both verdicts"):
        m_ifeval.read(write(tmp_path, files))


# hh-rlhf


def test_a_conversation_becomes_turns_and_its_last_response(tmp_path: Path) -> None:
    items = read("hh-rlhf", tmp_path)
    first = next(item for item in items if item.item_id == "helpful-base:000001")
    assert [turn["role"] for turn in first.messages] == ["user", "assistant", "user"]
    assert first.messages[-1]["content"] == ask(0)[0]
    assert first.responses == list(ask(0)[1:])
    assert hh_rlhf.metrics(items, all_right(items))["harmless-base.mean"] == 1


def test_conversations_that_part_before_the_last_response_are_counted(tmp_path: Path) -> None:
    files = copy.deepcopy(published("hh-rlhf"))
    rows = files["helpful-base/test.jsonl.gz"]
    rows[0]["rejected"] = rows[0]["rejected"].replace("Good day!", "Hm?")
    items = hh_rlhf.read(write(tmp_path, files))
    assert len(items) == 5
    assert hh_rlhf.metrics(items, all_right(items))["parted"] == 1


@pytest.mark.parametrize(
    "text",
    ["Hello", "\n\nHuman: Hello", "\n\nAssistant: Good day!", "x\n\nHuman: a\n\nAssistant: b"],
)
def test_a_text_that_is_no_conversation_is_named(text: str, tmp_path: Path) -> None:
    files = copy.deepcopy(published("hh-rlhf"))
    files["helpful-base/test.jsonl.gz"][2]["chosen"] = text
    with pytest.raises(
        InputError, match=r"row 3: chosen is .*; expected a conversation from Human"
    ):
        hh_rlhf.read(write(tmp_path, files))
