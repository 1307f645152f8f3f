"""Scoring in shards: by id, each text once, the same bytes wherever it was interrupted."""

import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from mutual_taught.artifacts import tables
from mutual_taught.config.blocks import Score, Tokens
from mutual_taught.errors import InputError
from mutual_taught.models.packed.conversations import Asked
from mutual_taught.models.packed.rows import Group
from mutual_taught.scoring.local import Local
from mutual_taught.scoring.rewards import Rewards
from mutual_taught.scoring.shards import score_all, score_prompts, spread
from mutual_taught.steps import answer
from mutual_taught.steps.score import ScoreInputs, rewards
from mutual_taught.terminal.progress import Counted, ignore
from tests import project

SCORE = Score(dtype="float32", token_budget=200, shard_size=3)
TOKENS = Tokens(max_prompt_tokens=200, max_length=400, date=None)
WORDS = ("hats", "rivers", "songs about the sea", "a", "numbers from one to ten, in words")


def questions(count: int) -> list[Asked]:
    """Prompts of different lengths with three responses each."""
    return [
        Asked(
            f"{number:032x}",
            [{"role": "user", "content": f"Tell me of {WORDS[number % 5]} " * (1 + number % 4)}],
            [f"{word} {number}. " * (1 + number % 3) for word in ("No", "Yes", "Well, well")],
        )
        for number in range(count)
    ]


ASKED = questions(10)


class Counting(Local):
    """The real scorer, which remembers what it was asked."""

    asked: list[int]
    branches = 0

    def score(
        self, shards: Mapping[int, Sequence[Group]], seen: Counted = ignore
    ) -> Iterator[tuple[int, Rewards]]:
        self.asked = list(shards)
        self.branches = sum(len(g.branches) for groups in shards.values() for g in groups)
        return super().score(shards, seen)


@pytest.fixture
def scorer(here: Path, reward_folder: Path) -> Counting:
    scorer = Counting(SCORE, TOKENS)
    scorer.load(reward_folder)
    return scorer


def run(scorer: Local, asked: Sequence[Asked], parts: Path) -> pa.Table:
    return score_prompts(scorer, asked, TOKENS.max_length, parts, "score")


def test_a_reward_is_that_of_its_prompt_and_index(
    here: Path, scorer: Counting, reward_folder: Path
) -> None:
    whole = score_all(scorer, reward_folder, ASKED, TOKENS, "score@1")
    by_key = {(r["prompt_id"], r["response_index"]): r["reward"] for r in whole.to_pylist()}
    for one in ASKED[::4]:
        for index, text in enumerate(one.responses):
            [alone] = run(scorer, [one._replace(responses=[text])], here / text)["reward"]
            assert by_key[one.prompt_id, index] == pytest.approx(alone.as_py(), abs=1e-5)


def test_the_order_in_which_prompts_are_given_changes_no_bit(
    here: Path, scorer: Counting, reward_folder: Path
) -> None:
    whole = score_all(scorer, reward_folder, ASKED, TOKENS, "one")
    mixed = random.Random(1).sample(ASKED, len(ASKED))
    assert score_all(scorer, reward_folder, mixed, TOKENS, "other").equals(whole)


@pytest.mark.usefixtures("two_threads")
def test_two_shards_at_a_time_have_the_rewards_of_one_at_a_time(
    here: Path, scorer: Counting
) -> None:
    both = run(scorer, ASKED, here / "both")
    torch.set_num_threads(1)  # of two threads, each shard has one
    assert run(scorer, ASKED, here / "one").equals(both)


def test_finished_shards_are_not_scored_again_and_the_bytes_are_the_same(
    here: Path, scorer: Counting
) -> None:
    whole = run(scorer, ASKED, here)
    assert scorer.asked == [0, 1, 2, 3]
    first = {path: path.read_bytes() for path in here.rglob("rewards.parquet")}
    for lost in (0, 2):
        (here / f"part-{lost:05d}" / "rewards.parquet").unlink()
    assert run(scorer, ASKED, here).equals(whole)
    assert scorer.asked == [0, 2]
    assert {path: path.read_bytes() for path in here.rglob("rewards.parquet")} == first


def test_equal_responses_to_a_prompt_are_scored_once_and_tie_exactly(
    here: Path, scorer: Counting
) -> None:
    asked = [ASKED[0]._replace(responses=["Yes.", "No.", "Yes.", "Yes."]), ASKED[1]]
    rewards = run(scorer, asked, here)["reward"].to_pylist()
    assert scorer.branches == 2 + 3
    assert rewards[0] == rewards[2] == rewards[3] != rewards[1]


def test_rewards_are_spread_by_id_and_index(here: Path, scorer: Counting) -> None:
    scored = run(scorer, ASKED[:2], here)
    mixed = scored.take(pa.array([4, 2, 5, 0, 3, 1]))
    values = scored["reward"].to_pylist()
    assert spread(mixed, [ASKED[1].prompt_id, ASKED[0].prompt_id], 3).tolist() == [
        values[3:],
        values[:3],
    ]


def test_reward_that_is_no_number_is_one_line_and_its_shard_is_not_kept(
    here: Path, scorer: Counting
) -> None:
    assert scorer.reward_model is not None
    with torch.no_grad():
        scorer.reward_model.model.score.weight.fill_(float("nan"))
    with pytest.raises(InputError) as caught:
        run(scorer, ASKED, here)
    assert str(caught.value) == (
        f"prompt {0:032x}: reward is NaN or infinite; expected a number; "
        "try score.dtype float32, or another reward model"
    )
    assert not list(here.rglob("rewards.parquet"))


def test_response_that_does_not_fit_has_a_null_reward_with_its_reason_and_is_not_sent(
    here: Path, scorer: Counting
) -> None:
    long, alone = "a " * 400, Asked("p99", ASKED[0].messages, ["b " * 400])
    asked = [ASKED[0]._replace(responses=[long, "Yes.", long, "No."]), *ASKED[1:3], alone]
    found = run(scorer, asked, here)
    assert scorer.branches == 2 + 3 + 3
    rows = [row for row in found.to_pylist() if row["prompt_id"] in (asked[0].prompt_id, "p99")]
    assert [row["reason"] for row in rows] == ["too_long", "", "too_long", "", "too_long"]
    assert [row["reward"] is None for row in rows] == [True, False, True, False, True]
    plain = run(scorer, [ASKED[0]._replace(responses=["Yes.", "No."]), *ASKED[1:3]], here / "plain")
    known = [reward for reward in found["reward"].to_pylist() if reward is not None]
    assert known == pytest.approx(plain["reward"].to_pylist(), abs=1e-5)
    assert run(scorer, asked, here).equals(found)  # read from the finished shards


def test_shard_in_which_no_response_fits_is_written_all_the_same(
    here: Path, scorer: Counting
) -> None:
    asked = [one._replace(responses=["a " * 400]) for one in ASKED[:4]]
    found = run(scorer, asked, here)
    assert found["reason"].to_pylist() == ["too_long"] * 4
    assert found["reward"].null_count == 4
    assert scorer.branches == 0
    assert np.isnan(spread(found, [one.prompt_id for one in asked], 1)).all()


STRICT = (
    "{% for m in messages %}{% if m['role'] == 'assistant' and not m['content'] %}"
    "{{ raise_exception('an assistant turn needs text') }}{% endif %}{% endfor %}"
)


def test_response_that_the_template_refuses_has_a_null_reward_with_its_reason(
    here: Path, reward_folder: Path
) -> None:
    strict = Counting(SCORE, TOKENS)
    strict.load(reward_folder)
    strict.tokenizer.chat_template = STRICT + str(strict.tokenizer.chat_template)
    long = "a " * 400
    asked = [ASKED[0]._replace(responses=["", "Yes.", long, ""]), ASKED[1]._replace(responses=[""])]
    found = run(strict, asked, here)
    assert found["reason"].to_pylist() == [
        "template_refuses",
        "",
        "too_long",
        "template_refuses",
        "template_refuses",
    ]
    assert found["reward"].is_valid().to_pylist() == [False, True, False, False, False]
    why = spread(found, [asked[0].prompt_id], 4, "reason")
    assert why.tolist() == [["template_refuses", "", "too_long", "template_refuses"]]


def test_answer_rewards_have_a_reason_for_each_side(
    here: Path, scorer: Counting, reward_folder: Path
) -> None:
    ids = [one.prompt_id for one in ASKED[:3]]
    prompts = pa.table(
        {"prompt_id": ids, "messages": [list(one.messages) for one in ASKED[:3]]},
        schema=pa.schema([("prompt_id", tables.TEXT), ("messages", tables.MESSAGES)]),
    )
    long = "a " * 400
    now, before = (
        pa.table({"prompt_id": ids, "response": texts})
        for texts in (["Yes.", long, long], ["No.", "No.", long])
    )
    inputs = answer.AnswerInputs(now, before, Path("answers"), prompts)
    rows, made_from = answer.answer_rewards(
        scorer, inputs, reward_folder, TOKENS, "answer@1-rewards"
    )
    assert rows["reason"].to_pylist() == ["", "too_long", "too_long"]
    assert rows["previous_reason"].to_pylist() == ["", "", "too_long"]
    for side in ("", "previous_"):
        empty = [reason == "" for reason in rows[f"{side}reason"].to_pylist()]
        assert rows[f"{side}reward"].is_valid().to_pylist() == empty
    assert made_from["max_length"] == 400


def test_given_response_that_is_too_long_for_the_policy_has_no_reward(
    here: Path, scorer: Counting, reward_folder: Path
) -> None:
    prompts = pa.table(
        {"prompt_id": [ASKED[0].prompt_id], "messages": [list(ASKED[0].messages)]},
        schema=pa.schema([("prompt_id", tables.TEXT), ("messages", tables.MESSAGES)]),
    )
    responses = pa.table(
        {
            "prompt_id": [ASKED[0].prompt_id] * 2,
            "response_index": [0, 1],
            "response": ["Yes.", "No."],
            "finish_reason": ["too_long", "stop"],
        }
    )
    inputs = ScoreInputs(responses, here, prompts, here)
    rows, _ = rewards(scorer, inputs, reward_folder, TOKENS, "score@1")
    assert rows["reason"].to_pylist() == ["too_long", ""]
    assert rows["reward"].is_valid().to_pylist() == [False, True]


CHILD = """
import sys, time
from pathlib import Path
from mutual_taught.scoring import rewards
from mutual_taught.scoring.shards import score_all
from mutual_taught.scoring.start import start_scorer
from tests.scoring.test_shards import SCORE, TOKENS, questions

whole = rewards.score
def slowly(*args):
    time.sleep(0.3)
    return whole(*args)
rewards.score = slowly
with start_scorer(SCORE, 'local', TOKENS) as scorer:
    score_all(scorer, Path(sys.argv[1]), questions(60), TOKENS, "score@1")
"""


@pytest.mark.slow
def test_a_killed_scoring_goes_on_and_ends_with_the_same_bytes(
    here: Path, scorer: Counting, reward_folder: Path
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(reward_folder)],
        env=project.ENVIRONMENT,
        stderr=subprocess.DEVNULL,
    )
    while len(kept := list(here.rglob("rewards.parquet"))) < 3:
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    asked = questions(60)
    resumed = score_all(scorer, reward_folder, asked, TOKENS, "score@1")
    assert set(scorer.asked) <= set(range(len(kept), 20))
    assert resumed.equals(score_all(scorer, reward_folder, asked, TOKENS, "other"))
    assert tables.rows_digest(resumed) == tables.rows_digest(run(scorer, asked, here / "third"))
