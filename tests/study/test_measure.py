"""What is kept of a run, from tables that were made by hand."""

import json
from pathlib import Path

import pytest

from mutual_taught.artifacts import tables
from study import measure, outcomes
from study.outcomes import Numbers
from study.plan import Unit
from study.results import ResultRow, read, write

COMMAS, BULLETS = "punctuation:no_comma", "detectable_format:number_bullet_lists"
GOOD, BAD = "* one\n* two", "one, two"  # follows both instructions, follows none
IDS = ["a" * 32, "b" * 32, "c" * 32]


def prompts(folder: Path, split: str) -> None:
    rows = {
        "prompt_id": IDS,
        "messages": [[{"role": "user", "content": name}] for name in "abc"],
        "split": [split] * 3,
        "source": ["embedded"] * 3,
        "instruction_ids": [[COMMAS, BULLETS]] * 3,
        "instruction_kwargs": [["{}", json.dumps({"num_bullets": 2})]] * 3,
        "chosen": [None] * 3,
        "rejected": [None] * 3,
    }
    tables.write(folder, tables.split(split), rows, {})


def evaluation(folder: Path, texts: list[str]) -> None:
    """Two responses to each prompt, of which r_t ranks the pairs of the first two prompts right."""
    names = [name for name in IDS for _ in range(2)]
    gold = [1.0 if text == GOOD else 0.0 for text in texts]
    rows = {
        "prompt_id": names,
        "response_index": [0, 1] * 3,
        "response": texts,
        "token_ids": [[1, 2]] * 6,
        "length_tokens": [2, 4] * 3,
        "length_chars": [11] * 6,
        "finish_reason": ["stop", "length"] * 3,
        "seed": list(range(6)),
        "gold": gold,
        "passed": [value == 1.0 for value in gold],
        "reward_r0": [0.0] * 6,
        "reward_rt": [0.0] * 6,
        "reward_previous": [0.0] * 6,
        "reason": [""] * 6,
        "logprob": [-1.0] * 6,
        "base_logprob": [-1.0] * 6,
    }
    tables.write(folder / "eval", tables.GENERATIONS, rows, {})
    judged = {
        "prompt_id": IDS,
        "response_index": [0] * 3,
        "system_a": ["policy"] * 3,
        "system_b": ["base"] * 3,
        "judge": ["verifiable"] * 3,
        "order": [0] * 3,
        "outcome": [1.0, 0.5, 0.0],
        "raw_a": [1.0] * 3,
        "raw_b": [0.0] * 3,
        "parse_ok": [True] * 3,
        "length_a": [2] * 3,
        "length_b": [2] * 3,
    }
    tables.write(folder / "eval", tables.JUDGEMENTS, judged, {})
    scores = {
        "set": ["own_samples"] * 6,
        "pair_id": [f"{index}" for index in range(6)],
        "subset": ["own_samples"] * 6,
        "prompt_id": IDS * 2,
        "reward_model": ["rt"] * 3 + ["r0"] * 3,
        "reward_chosen": [2.0, 2.0, 0.0, 0.0, 2.0, None],
        "reward_rejected": [1.0] * 6,
        "length_chosen": [1] * 6,
        "length_rejected": [1] * 6,
    }
    tables.write(folder / "eval", tables.RM_SCORES, scores, {})
    (folder / "metrics").mkdir()
    (folder / "metrics/eval.json").write_text('{"active": 1.0}')


@pytest.fixture
def numbers(tmp_path: Path) -> Numbers:
    run = tmp_path / "run"
    for split in ("eval", "reward"):
        prompts(run / "0" / "splits", split)
    evaluation(run / "0", [BAD] * 6)
    evaluation(run / "1", [GOOD, GOOD, GOOD, BAD, BAD, BAD])
    # The label is right on the first, wrong on the second; gold ties on the third.
    pairs = {
        "prompt_id": IDS,
        "response": [GOOD, BAD, GOOD],
        "previous_response": [BAD, GOOD, GOOD],
        "reward": [1.0, 0.0, 1.0],
        "previous_reward": [0.0, 0.5, 1.5],
        # As where gold labels: the chosen one's minus the other's; a tie has none.
        "reward_margin": [1.0, 0.5, None],
        "kept": [True, True, False],
        "reason": ["", "", "same_text"],
    }
    extra = {name: [""] * 3 for name in tables.PSEUDO_PAIRS.columns if name not in pairs}
    tables.write(run / "1", tables.PSEUDO_PAIRS, {**pairs, **extra}, {"tolerance": 0.5})
    about = Unit("mutual", 1, "float32")._asdict()
    write(tmp_path / "unit.parquet", about, measure.rows(run))
    return Numbers(read(tmp_path / "unit.parquet"))


def test_gold_of_a_prompt_is_the_mean_of_its_responses(numbers: Numbers) -> None:
    assert numbers.prompts(1, "gold") == {IDS[0]: (1.0, 2), IDS[1]: (0.5, 2), IDS[2]: (0.0, 2)}
    assert numbers.average(1, "gold") == 0.5
    assert numbers.average(0, "gold") == 0.0
    assert numbers.average(1, "cut") == 0.5
    assert numbers.average(1, "wins_base") == 0.5


def test_each_instruction_is_measured_by_itself(numbers: Numbers) -> None:
    assert numbers.subsets("follows") == [BULLETS, COMMAS]
    found = numbers.prompts(1, "follows", COMMAS)
    assert found == {IDS[0]: (1.0, 2), IDS[1]: (0.5, 2), IDS[2]: (0.0, 2)}


def test_agreement_counts_a_pair_without_a_reward_as_an_error(numbers: Numbers) -> None:
    # r_t is right on two of three pairs; r_0 on one, and one of its sides has no reward.
    sample = outcomes.agreement(numbers, "own_samples")
    assert (sample.sums.sum(), sample.other_sums.sum(), sample.counts.sum()) == (2.0, 1.0, 3.0)


@pytest.mark.parametrize(
    ("pseudo", "by_gold", "own"), [(3.0, None, True), (3.0, 1.0, False), (0.0, None, False)]
)
def test_labels_count_as_learnt_where_the_m_step_gave_them(
    tmp_path: Path, pseudo: float, by_gold: float | None, own: bool
) -> None:
    found = [ResultRow(1, "build_pairs.pairs_pseudo", "", "", pseudo, 1)]
    if by_gold is not None:
        found.append(ResultRow(1, "build_pairs.labelled_by_gold", "", "", by_gold, 1))
    write(tmp_path / "unit.parquet", Unit("mutual", 1, "float32")._asdict(), found)
    assert outcomes.own_label(Numbers(read(tmp_path / "unit.parquet")), 1) is own


def test_labels_are_judged_by_gold_where_it_differs(numbers: Numbers) -> None:
    found = outcomes.labels(numbers, 1)
    assert found.label.tolist() == [True, False]
    assert found.reward.tolist() == [True, True]  # margins 1 and -0.5 have the signs of gold
    assert found.margin.tolist() == [2.0, -1.0]  # in units of epsilon, 0.5
    assert found.ties == 1


def test_numbers_of_stages_are_kept_by_stage_and_name(numbers: Numbers) -> None:
    assert numbers.number(1, "eval.active") == 1.0
    assert numbers.active() == 1
    assert numbers.number(1, "eval.other") != numbers.number(1, "eval.other")  # NaN


def test_rows_are_written_in_one_order(tmp_path: Path) -> None:
    about = Unit("mutual", 1, "float32")._asdict()
    listed = [ResultRow(1, "gold", "", "b", 0.5, 2), ResultRow(0, "gold", "", "a", 0.25, 2)]
    for name, rows in (("one", listed), ("two", listed[::-1])):
        write(tmp_path / name, about, rows)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
