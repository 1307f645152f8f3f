"""Responses that do not fit the reward model: the whole method goes on without their rewards."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from mutual_taught.artifacts import files, tables
from mutual_taught.artifacts.decision import Decision
from mutual_taught.cli import main
from mutual_taught.config.blocks import SelectPolicy, Tokens
from mutual_taught.errors import InputError
from mutual_taught.evaluation import metrics
from mutual_taught.evaluation.judge import Systems, judge, own_pairs
from mutual_taught.evaluation.reward_metrics import reward_model_metrics
from mutual_taught.models.load import load_tokenizer
from mutual_taught.prepare import reward_model
from mutual_taught.reading import trace, trace_text
from mutual_taught.report import markdown
from mutual_taught.steps import sample, select_policy
from mutual_taught.training import reward as train_reward
from tests import project
from tests.audit.test_verify_whole import copy, first, found, sign
from tests.conftest import run_tiny

NONE = None
Row = dict[str, Any]

# Prompts have up to 91 tokens. Responses of 24 tokens by a random policy are broken signs, which
# the reward model reads as about twice as many tokens: with many prompts they do not fit into 123.
# With this seed each split has some that fit and some that do not.
LIMITS: dict[str, object] = {
    "seed": 7,
    "tokens.max_prompt_tokens": 91,
    "tokens.max_length": 123,
    "sample.max_new_tokens": 24,
    "duel.max_new_tokens": 24,
    "answer.max_new_tokens": 24,
    "eval.max_new_tokens": 24,
    "dpo.batch_size": 1,
    "dpo.save_steps": 1,
}


@pytest.fixture(scope="session")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run in which many responses do not fit; read it, never write."""
    return run_tiny(tmp_path_factory.mktemp("crowded") / "repo", LIMITS)


@pytest.fixture
def run(crowded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return copy(crowded, tmp_path, monkeypatch)


def rows(path: Path) -> list[Row]:
    return list(pq.read_table(path).to_pylist())


def told(run: Path, t: str, stage: str) -> dict[str, float]:
    return dict(files.read_json(run / t / "metrics" / f"{stage}.json"))


@pytest.mark.slow
def test_run_goes_to_its_end_and_verify_finds_no_fault(run: Path) -> None:
    assert found(models=True) == []
    assert (run / "2" / "report" / "report.md").exists()


@pytest.mark.slow
@pytest.mark.parametrize("t", ["1", "2"])
def test_ranked_pairs_are_of_scored_responses_and_the_others_are_counted(run: Path, t: str) -> None:
    rewards: dict[str, list[float | None]] = {}
    for row in rows(run / t / "rewards.parquet"):
        assert row["reason"] == ("too_long" if row["reward"] is None else "")
        rewards.setdefault(row["prompt_id"], []).append(row["reward"])
    everything = [reward for mine in rewards.values() for reward in mine]
    assert 0 < everything.count(NONE) == told(run, t, "score")["unscored"] < len(everything)
    pairs = rows(run / t / "ranked_pairs.parquet")
    for pair in pairs:
        known = [reward for reward in rewards[pair["prompt_id"]] if reward is not None]
        assert (pair["reason"] == "unscored") == (len(known) < 2)
        if pair["kept"]:
            assert pair["reward_chosen"] > sum(known) / len(known)
            assert pair["reward_rejected"] == min(known)
    dropped = sum(pair["reason"] == "unscored" for pair in pairs)
    assert told(run, t, "rank_pairs").get("dropped_unscored", 0) == dropped
    assert any(pair["kept"] for pair in pairs)


@pytest.mark.slow
@pytest.mark.parametrize("t", ["1", "2"])
def test_all_candidates_duel_on_the_same_scored_prompts(run: Path, t: str) -> None:
    duels = rows(run / t / "duels.parquet")
    out = {row["prompt_id"] for row in duels if None in (row["reward"], row["previous_reward"])}
    steps = {row["step"] for row in duels}
    assert len(steps) > 1
    assert len(out) < len(duels) / len(steps)
    assert out
    for row in duels:
        assert (row["outcome"] is None) == (row["prompt_id"] in out)
        assert row["reason"] == ("unscored" if row["prompt_id"] in out else "")
    chosen = told(run, t, "select_policy")
    assert chosen["unscored"] == len(out)
    assert chosen["n"] == len(duels) / len(steps) - len(out)
    mine = [row["outcome"] for row in duels if row["step"] == chosen["step"]]
    mine = [outcome for outcome in mine if outcome is not None]
    assert chosen["win_rate"] == sum(mine) / len(mine)


@pytest.mark.slow
@pytest.mark.parametrize("t", ["1", "2"])
def test_pseudo_pairs_need_both_rewards_and_the_tolerance_those_of_the_previous_policy(
    run: Path, t: str
) -> None:
    scored = rows(run / t / "answer_rewards.parquet")
    pairs = {row["prompt_id"]: row for row in rows(run / t / "pseudo_pairs.parquet")}
    for row in scored:
        assert row["previous_reason"] == ("too_long" if row["previous_reward"] is None else "")
        missing = None in (row["reward"], row["previous_reward"])
        assert (pairs[row["prompt_id"]]["reason"] == "unscored") == missing
    dropped = sum(pair["reason"] == "unscored" for pair in pairs.values())
    assert 0 < dropped == told(run, t, "build_pairs")["dropped_unscored"]
    known = [row["previous_reward"] for row in scored if row["previous_reward"] is not None]
    assert told(run, t, "build_pairs")["tolerance"] == pytest.approx(np.std(known))


@pytest.mark.slow
def test_evaluation_counts_what_it_could_not_score(run: Path) -> None:
    numbers = told(run, "1", "eval")
    generations = rows(run / "1" / "eval" / "generations.parquet")
    known = [row["reward_rt"] for row in generations if row["reward_rt"] is not None]
    assert 0 < len(known) < len(generations)
    assert numbers["policy.unscored"] == len(generations) - len(known)
    assert numbers["policy.reward.rt.mean"] == pytest.approx(sum(known) / len(known))
    scores = [
        row
        for row in rows(run / "1" / "eval" / "rm_scores.parquet")
        if (row["set"], row["reward_model"]) == ("gold_pairs", "rt")
    ]
    whole = [row for row in scores if None not in (row["reward_chosen"], row["reward_rejected"])]
    right = sum(row["reward_chosen"] > row["reward_rejected"] for row in whole)
    assert numbers["reward_model.gold_pairs.unscored"] == len(scores) - len(whole) > 0
    assert numbers["reward_model.gold_pairs.n"] == len(scores)
    assert numbers["reward_model.gold_pairs.accuracy"] == right / len(scores)


@pytest.mark.slow
def test_seed_preferences_that_do_not_fit_are_dropped_and_counted(run: Path) -> None:
    numbers = told(run, "0", "prepare_reward_model")
    assert numbers["kept"] > 0
    assert numbers["dropped_too_long"] == numbers["rows"] - numbers["kept"] > 0


@pytest.mark.slow
def test_trace_and_report_say_what_has_no_reward(run: Path) -> None:
    row = next(row for row in rows(run / "1" / "rewards.parquet") if row["reason"])
    said = "\n".join(trace_text.lines(trace.prompt(run, row["prompt_id"]), run))
    assert f"response {row['response_index']}  reward – (too_long)" in said
    duel = next(row for row in rows(run / "1" / "duels.parquet") if row["reason"])
    said = "\n".join(trace_text.lines(trace.prompt(run, duel["prompt_id"]), run))
    assert f"checkpoint {duel['step']}" in said
    assert "left out: unscored" in said
    pairs = rows(run / "1" / "pseudo_pairs.parquet")
    pair = next(row for row in pairs if row["reason"] == "unscored")
    said = "\n".join(trace_text.lines(trace.prompt(run, pair["prompt_id"]), run))
    assert "pseudo pair dropped: unscored, margin –" in said
    for why in rows(run / "1" / "reward_pairs.parquet"):
        result = CliRunner().invoke(main, ["why", why["pair_id"]])
        assert result.exit_code == 0, result.output
    counts = [told(run, "1", stage) for stage in ("score", "select_policy", "eval")]
    shown = " / ".join(
        f"{numbers[name]:.0f}"
        for numbers, name in zip(counts, ("unscored", "unscored", "policy.unscored"), strict=True)
    )
    page = (run / "1" / "report" / "report.md").read_text()
    [line] = [line for line in page.splitlines() if line.startswith("| without a reward")]
    assert line.endswith(f"| {shown} |")


FORGED = {
    "a reward that is taken away": (
        "1/rewards",
        "reward",
        None,
        "reason is ''; expected too_long or template_refuses",
    ),
    "a reason that is made up": ("1/rewards", "reason", "dull", "reason is 'dull'"),
    "an outcome that is taken away": ("1/duels", "outcome", None, "outcome is None"),
    "a reason of a duel": ("1/duels", "reason", "dull", "reason is 'dull'"),
    "a reward of D_M": ("1/answer_rewards", "previous_reward", None, "previous_reason is ''"),
    "a reason of D_M": ("1/answer_rewards", "reason", "dull", "reason is 'dull'"),
    "a reason of an evaluation": ("2/eval/generations", "reason", "dull", "reason is 'dull'"),
    "a reward of an evaluation": (
        "2/eval/generations",
        "reward_r0",
        None,
        "expected what goes with reward_rt",
    ),
    "a reward of a gold pair": ("2/eval/rm_scores", "reward_chosen", None, "unscored"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", FORGED)
def test_null_that_does_not_go_with_its_reason_is_found(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    run = copy(finished, tmp_path, monkeypatch)
    table, column, value, said = FORGED[name]
    sign(table, first(column, value))(run)
    lines = found()
    assert any(said in line for line in lines), lines


@pytest.mark.slow
def test_limit_that_rewards_were_given_under_is_compared(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy(finished, tmp_path, monkeypatch)
    project.set_param(Path("params.yaml"), "tokens.max_length", 700)
    lines = found()
    for name in ("rewards", "duels", "answer_rewards", "generations", "rm_scores"):
        assert any(f"{name}.parquet: provenance max_length is 768" in line for line in lines), name


def duels(outcomes: dict[int, list[float | None]]) -> pa.Table:
    listed = [
        (step, f"p{i}", value)
        for step, values in outcomes.items()
        for i, value in enumerate(values)
    ]
    steps, prompts, values = zip(*listed, strict=True)
    return pa.table(
        {"step": steps, "prompt_id": prompts, "outcome": pa.array(values, tables.NUMBER)}
    )


SELECTION = SelectPolicy(
    rule="win_rate", judge="reward_model", judge_model=None, win_rate_threshold=0.6, ties="half"
)


def test_win_rates_are_over_the_prompts_that_are_told(here: Path) -> None:
    # Step 8 wins 1 of the 2 told, step 16 both; the third prompt is left out.
    fought = duels({8: [1.0, 0.0, None], 16: [1.0, 1.0, None]})
    (here / "checkpoints" / "step-000016").mkdir(parents=True)
    choice = select_policy.Choice(fought, here / "checkpoints", here, Decision(True, "0"))
    select_policy.choose(choice, here / "1", "1", SELECTION, 1)
    numbers = files.read_json(here / "1" / "metrics" / "select_policy.json")
    assert (numbers["step"], numbers["win_rate"], numbers["n"], numbers["unscored"]) == (
        16,
        1.0,
        2,
        1,
    )


def test_selection_without_any_told_duel_is_one_line(here: Path) -> None:
    fought = duels({8: [None, None], 16: [None, None]})
    choice = select_policy.Choice(fought, here, here, Decision(True, "0"))
    with pytest.raises(InputError) as caught:
        select_policy.choose(choice, Path("run/1"), "1", SELECTION, 1)
    assert str(caught.value) == (
        "run/1: none of 2 prompts has a judged duel (unscored 2); expected at least one; "
        "raise tokens.max_length, or lower duel.max_new_tokens"
    )
    assert not Path("run/1").exists()


def generations(r0: list[float | None], rt: list[float | None], gold: list[float]) -> pa.Table:
    size = len(r0)
    return pa.table(
        {
            "prompt_id": ["a"] * size,
            "response_index": range(size),
            "response": ["text"] * size,
            "token_ids": [[1]] * size,
            "length_tokens": [1] * size,
            "length_chars": [4] * size,
            "finish_reason": ["stop"] * size,
            "seed": [0] * size,
            "gold": gold,
            "passed": [False] * size,
            "reward_r0": r0,
            "reward_rt": rt,
            "reward_previous": r0,
            "reason": ["too_long" if reward is None else "" for reward in rt],
            "logprob": [-1.0] * size,
            "base_logprob": [-1.0] * size,
        },
        schema=tables.GENERATIONS.schema,
    )


def test_unscored_response_is_a_failure_under_the_judge_r_0_and_gold_is_as_it_was() -> None:
    own = generations([NONE, NONE, 1.0, 2.0], [NONE, NONE, 4.0, 6.0], [0.0, 1.0, 0.5, 0.5])
    base = generations([0.0, NONE, NONE, 3.0], [0.0, NONE, NONE, 3.0], [1.0, 0.0, 0.5, 0.5])
    systems = Systems(own, base, own)
    judged = judge(systems).to_pylist()
    by = {
        judge: [
            row["outcome"] for row in judged if (row["judge"], row["system_b"]) == (judge, "base")
        ]
        for judge in ("reward_model", "verifiable")
    }
    # lost against a scored one, tied with another unscored, won, lost by its reward
    assert by["reward_model"] == [0.0, 0.5, 1.0, 0.0]
    assert by["verifiable"] == [0.0, 1.0, 0.5, 0.5]
    numbers = metrics.policy_metrics(systems, judge(systems), 1)
    assert (numbers["policy.reward.r0.mean"], numbers["policy.reward.rt.mean"]) == (1.5, 5.0)
    assert numbers["policy.unscored"] == 2.0
    name = "policy.win_rate.vs_base.reward_model"
    assert (numbers[f"{name}.mean"], numbers[f"{name}.unscored"]) == (0.375, 3.0)
    assert numbers["policy.gold.mean"] == 0.5


def test_evaluation_without_any_reward_has_no_mean_reward() -> None:
    own = generations([NONE], [NONE], [0.5])
    systems = Systems(own, own, own)
    numbers = metrics.policy_metrics(systems, judge(systems), 1)
    assert numbers["policy.reward.r0.mean"] is None
    assert numbers["policy.win_rate.vs_base.reward_model.mean"] == 0.5


def test_own_pair_with_an_unscored_side_is_wrong() -> None:
    # Gold 0 < 0.5 < 1: three pairs. r_t has no reward for the middle one: 1 over 0 is left.
    own = generations([0.0, 1.0, 2.0], [0.0, NONE, 2.0], [0.0, 0.5, 1.0])
    scores = own_pairs(own).cast(
        pa.schema([pa.field(name, kind) for name, kind in tables.RM_SCORES.columns.items()])
    )
    numbers = reward_model_metrics(scores, 1)
    prefix = "reward_model.own_samples"
    assert numbers[f"{prefix}.r0.accuracy"] == 1.0
    assert numbers[f"{prefix}.rt.accuracy"] == pytest.approx(1 / 3)
    assert (numbers[f"{prefix}.rt.unscored"], numbers[f"{prefix}.rt.ties"]) == (2.0, 0.0)
    assert numbers[f"{prefix}.rt.margin"] == 2.0
    assert numbers[f"{prefix}.rt.log_loss"] == pytest.approx(math.log(1 + math.exp(-2)))
    assert numbers[f"{prefix}.difference.mean"] == pytest.approx(-2 / 3)


def test_given_response_that_is_too_long_for_the_policy_is_kept_and_says_so(
    policy_folder: Path,
) -> None:
    prompts = pa.Table.from_pylist(
        [
            {
                "prompt_id": "a",
                "messages": [{"role": "user", "content": "Hi"}],
                "split": "policy_1",
                "source": "x",
                "instruction_ids": [],
                "instruction_kwargs": [],
                "chosen": "Yes.",
                "rejected": "No " * 200,
            }
        ],
        schema=tables.PROMPTS.schema,
    )
    limits = Tokens(max_prompt_tokens=50, max_length=100, date=None)
    found = sample.given(load_tokenizer(policy_folder), prompts, limits)
    assert found["finish_reason"].to_pylist() == ["stop", "too_long"]
    assert found["response"].to_pylist() == ["Yes.", "No " * 200]


def preferences(texts: list[tuple[str, str]]) -> pa.Table:
    return pa.Table.from_pylist(
        [
            {
                "prompt_id": f"{place:032x}",
                "messages": [{"role": "user", "content": "Hi"}],
                "chosen": chosen,
                "rejected": rejected,
                "gold_chosen": 1.0,
                "gold_rejected": 0.0,
                "part": "train",
            }
            for place, (chosen, rejected) in enumerate(texts)
        ],
        tables.GOLD_PAIRS.schema,
    )


def test_seed_preference_with_a_side_that_does_not_fit_is_dropped(
    here: Path, policy_folder: Path
) -> None:
    long = "No " * 200
    pairs = preferences([("Yes.", "No."), (long, "No."), ("Yes.", long), ("Well.", "No.")])
    path = tables.write(here, tables.GOLD_PAIRS, pairs, {})
    limits = Tokens(max_prompt_tokens=50, max_length=100, date=None)
    tokenizer = load_tokenizer(policy_folder)
    kept, counted = reward_model.fitting(path, tokenizer, limits)
    assert kept["chosen"].to_pylist() == ["Yes.", "Well."]
    assert counted == {"active": 1.0, "rows": 4.0, "kept": 2.0, "dropped_too_long": 2.0}
    assert len(train_reward.tokenised(tokenizer, ["x", "y"], kept, limits)) == 2


def test_seed_preferences_of_which_none_fits_are_one_line(here: Path, policy_folder: Path) -> None:
    path = tables.write(here, tables.GOLD_PAIRS, preferences([("No " * 200, "No.")]), {})
    limits = Tokens(max_prompt_tokens=50, max_length=100, date=None)
    with pytest.raises(InputError) as caught:
        reward_model.fitting(path, load_tokenizer(policy_folder), limits)
    assert str(caught.value) == (
        f"{path}: of 1 pairs to train on none fits tokens.max_length 100 by the policy's "
        "tokenizer; expected at least one; raise it, or make others with mutual-taught "
        "seed-preferences"
    )


def test_counts_of_an_iteration_before_its_stages_ran_are_dashes() -> None:
    assert markdown.unscored({"score": {"unscored": 3.0}}) == "3 / – / –"
