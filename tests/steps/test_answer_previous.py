"""What pi_{t-1} answers to D_M: anew, with seeds of its own, or as it did before."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from mutual_taught.artifacts import tables
from mutual_taught.config import params
from mutual_taught.config.blocks import Answer, Drawing
from mutual_taught.keys import prompt_id, sampling_seeds
from mutual_taught.models.message import Message
from mutual_taught.sampling.shards import Drawn, make_plan
from mutual_taught.steps.answer_previous import answer_previous
from mutual_taught.steps.single_answers import single_answers
from tests.project import ROOT

ASKED: list[list[Message]] = [
    [{"role": "user", "content": text}] for text in ("Name a sea", "Name a bird", "Name a tree")
]
IDS = sorted(map(prompt_id, ASKED))
BY_ID = {prompt_id(messages): messages for messages in ASKED}
PROMPTS = pa.table(
    {"prompt_id": IDS, "messages": pa.array([BY_ID[i] for i in IDS], tables.MESSAGES)}
)
SEED = 7


@pytest.fixture
def stored(tmp_path: Path) -> pa.Table:
    """Answers that iteration 1 labelled chosen, with their provenance."""
    rows = {
        "prompt_id": IDS,
        "response": ["Red", "Kea", "Fir"],
        "token_ids": [[5, 2], [6, 2], [7, 2]],
        "length_tokens": [2, 2, 2],
        "finish_reason": ["stop"] * 3,
        "seed": [1, 2, 3],
    }
    return tables.read(
        tables.write(tmp_path, tables.ANSWERS, rows, {"policy": "pi_1"}), tables.ANSWERS
    )


def terms(previous: str, against: str = "previous") -> tuple[Answer, Drawing]:
    raw = params.read(ROOT / "presets" / "tiny.yaml")
    answer = {**raw["answer"], "previous": previous, "against": against}
    values = params.validate({**raw, "answer": answer})
    return values.answer, Drawing(values.engine, values.tokens, SEED)


def drawn(
    policy: Path, stored: pa.Table, iteration: int, previous: str, against: str = "previous"
) -> Drawn:
    return answer_previous(policy, stored, PROMPTS, iteration, *terms(previous, against))


@pytest.mark.usefixtures("here")
def test_stored_answers_are_drawn_anew_unless_they_are_reused(
    policy_folder: Path, stored: pa.Table
) -> None:
    fresh, made_from = drawn(policy_folder, stored, 2, "fresh")
    seeds = sampling_seeds(SEED, 2, "answer_previous", IDS, np.zeros(3, np.int64))
    assert fresh["prompt_id"].to_pylist() == IDS
    assert fresh["seed"].to_pylist() == seeds.tolist()
    assert made_from["plan"][:4] == ["answer_previous", 2, SEED, 1]  # type: ignore[index]
    reused, said = drawn(policy_folder, stored, 2, "reuse")
    assert reused.equals(stored)
    assert said == {"policy": "pi_1"}


@pytest.mark.usefixtures("here")
def test_the_base_policy_has_none_stored_and_answers_either_way(policy_folder: Path) -> None:
    none = tables.ANSWERS.schema.empty_table()
    (fresh, one), (reused, two) = (
        drawn(policy_folder, none, 1, previous) for previous in ("fresh", "reuse")
    )
    assert fresh.equals(reused)
    assert one == two
    assert len(fresh) == 3


@pytest.mark.usefixtures("here")
def test_previous_answers_share_no_seed_with_answers_of_any_iteration(
    policy_folder: Path, stored: pa.Table
) -> None:
    fresh, _ = drawn(policy_folder, stored, 2, "fresh")
    index = np.zeros(3, np.int64)
    for t in (1, 2):
        assert not set(sampling_seeds(SEED, t, "answer", IDS, index)) & set(
            fresh["seed"].to_pylist()
        )


@pytest.mark.usefixtures("here")
def test_answers_of_the_base_policy_say_so_and_are_never_the_stored_ones(
    policy_folder: Path, stored: pa.Table
) -> None:
    (fresh, one), (base, two) = (
        drawn(policy_folder, stored, 2, "fresh", against) for against in ("previous", "base")
    )
    assert base.equals(fresh)  # the stage gives pi_0's folder; here both are the same
    assert two == {**one, "against": "base"}
    assert "against" not in one


@pytest.mark.usefixtures("here")
def test_one_policy_answers_twice_in_two_ways_unless_the_seeds_are_the_same(
    policy_folder: Path, stored: pa.Table
) -> None:
    # pi_t = pi_{t-1}: coupled, every pair of D_M would be dropped as the same text
    settings, drawing = terms("fresh")
    before, _ = drawn(policy_folder, stored, 2, "fresh")
    alike = []
    for stage in ("answer", "answer_previous"):
        plan = make_plan(stage, 2, 1, settings, drawing)
        own, _ = single_answers(policy_folder, PROMPTS, plan, drawing)
        pairs = zip(own["token_ids"].to_pylist(), before["token_ids"].to_pylist(), strict=True)
        alike.append(sum(now == then for now, then in pairs))
    assert alike == [0, 3]
