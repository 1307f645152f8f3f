"""Duels by tiny policies: whose seeds, how many equal responses, and several draws a prompt."""

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from mutual_taught import keys
from mutual_taught.artifacts import files, tables
from mutual_taught.config import blocks, params
from mutual_taught.errors import InputError
from mutual_taught.method.selection import Judge, Selected
from mutual_taught.steps import duel, select_policy
from tests import project

SAID = [f"Name {count} boats." for count in range(2, 14)]
STEPS = (1, 2)


def fight(
    policy: Path, judge: Path, here: Path, changes: dict[str, object], by: Judge = "reward_model"
) -> pa.Table:
    """Let two candidates, copies of the policy before, duel with it on twelve prompts."""
    whole = params.validate(params.read(project.ROOT / "presets" / "tiny.yaml"))
    terms = duel.DuelTerms(
        whole.duel.model_copy(update=changes),
        whole.score,
        blocks.Drawing(whole.engine, whole.tokens, 1),
        by,
    )
    for step in STEPS:
        shutil.copytree(policy, here / f"checkpoints/step-{step:06d}", dirs_exist_ok=True)
    files.write_json(here / "checkpoints" / "steps.json", {"steps": list(STEPS)})
    messages = [[{"role": "user", "content": said}] for said in SAID]
    rows = sorted(((keys.prompt_id(turns), turns) for turns in messages), key=lambda row: row[0])
    prompts = pa.table(
        {
            "prompt_id": [name for name, _ in rows],
            "messages": pa.array([turns for _, turns in rows], tables.MESSAGES),
            "instruction_ids": pa.array([[] for _ in rows], tables.TEXTS),
        }
    )
    fought, _ = duel.duel(duel.Duellists(here / "checkpoints", policy, judge), prompts, 1, terms)
    return fought.cast(tables.DUELS.schema)


def alike(fought: pa.Table) -> int:
    """Count responses that are pi_{t-1}'s to the token, of one candidate."""
    rows = fought.filter(pc.equal(fought["step"], 1))
    pairs = zip(rows["token_ids"].to_pylist(), rows["previous_token_ids"].to_pylist(), strict=True)
    return sum(own == theirs for own, theirs in pairs)


@pytest.mark.slow
def test_coupled_draws_of_the_same_policy_tie_and_independent_ones_do_not(
    here: Path, policy_folder: Path, reward_folder: Path
) -> None:
    coupled = fight(policy_folder, reward_folder, here, {"draws": "coupled"})
    apart = fight(policy_folder, reward_folder, here, {"draws": "independent"})
    assert (alike(coupled), alike(apart)) == (12, 0)
    assert coupled["outcome"].to_pylist() == [0.5] * 24
    assert 0.5 not in apart["outcome"].to_pylist()
    # the candidates' responses are the same either way, and those of equal candidates are equal
    assert apart["response"].equals(coupled["response"])
    assert apart["response"].to_pylist()[:12] == apart["response"].to_pylist()[12:]


def test_seeds_are_those_of_the_candidates_and_of_pi_before(
    here: Path, policy_folder: Path, reward_folder: Path
) -> None:
    fought = fight(policy_folder, reward_folder, here, {"responses_per_prompt": 2})
    for row in fought.to_pylist():
        for column, stage in (("seed", "duel"), ("previous_seed", "duel_previous")):
            assert row[column] == keys.sampling_seed(
                1, 1, stage, row["prompt_id"], row["response_index"]
            )


@pytest.mark.slow
def test_several_draws_have_an_index_each_and_the_first_are_those_of_one(
    here: Path, policy_folder: Path, reward_folder: Path
) -> None:
    one = fight(policy_folder, reward_folder, here, {})
    three = fight(policy_folder, reward_folder, here, {"responses_per_prompt": 3})
    assert tables.DUELS.sorted(three).equals(three)
    assert three["response_index"].to_pylist() == [0, 1, 2] * 24
    first = three.filter(pc.equal(three["response_index"], 0))
    for name in ("prompt_id", "response", "previous_response", "seed", "previous_seed"):
        assert first[name].equals(one[name])
    assert first["reward"].to_pylist() == pytest.approx(one["reward"].to_pylist(), abs=1e-4)


def test_gold_as_the_judge_of_prompts_without_instructions_is_refused_before_anything_is_drawn(
    here: Path, policy_folder: Path, reward_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(InputError, match="is verifiable, and 12 of 12 prompts of"):
        fight(policy_folder, reward_folder, here, {}, "verifiable")
    assert capsys.readouterr().err == ""  # no model was loaded


def test_win_rate_of_several_draws_is_over_prompts() -> None:
    # a: 1 and 0; b is left out; c: 1 and 0.5. Of ties that count half: 0.5 and 0.75
    outcomes = [1.0, 0.0, None, None, 1.0, 0.5]
    fought = pa.table(
        {
            "step": [4] * 6,
            "prompt_id": list("aabbcc"),
            "response_index": [0, 1] * 3,
            "outcome": pa.array(outcomes, pa.float64()),
        }
    )
    results = select_policy.by_step(fought, "half")
    assert results[4].tolist() == [0.5, 0.75]
    best = Selected(4, float(np.mean(results[4])), True)
    rule = blocks.SelectPolicy(
        rule="win_rate", judge="reward_model", judge_model=None, win_rate_threshold=0.6, ties="half"
    )
    found = select_policy.metrics(best, results, fought, rule, 1)
    assert (found["n"], found["unscored"], found["win_rate"]) == (2.0, 1.0, 0.625)
    # one candidate that is no better wins both of two prompts, which 0.6 needs, one time in four
    assert (found["null_passes"], found["candidates_below_half"]) == (0.25, 0.0)


def test_candidates_below_one_half_are_counted_and_the_last_checkpoint_needs_no_luck() -> None:
    rule = blocks.SelectPolicy(
        rule="last", judge="reward_model", judge_model=None, win_rate_threshold=0.6, ties="half"
    )
    fought = pa.table(
        {
            "step": [2, 2, 4, 4, 6, 6],
            "prompt_id": list("ab") * 3,
            "response_index": [0] * 6,
            "outcome": [0.0, 0.5, 1.0, 0.0, 0.0, 0.0],
        }
    )
    results = select_policy.by_step(fought, "half")
    found = select_policy.metrics(Selected(6, 0.0, True), results, fought, rule, 1)
    # win rates 1/4, 1/2 and 0
    assert found["candidates_below_half"] == 2.0
    assert "null_passes" not in found
