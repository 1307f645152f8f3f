"""Who wins a duel on tables, by rewards and by gold, worked by hand."""

import json
import math
from pathlib import Path

import pyarrow as pa
import pytest

from mutual_taught.errors import InputError
from mutual_taught.method.selection import Ties
from mutual_taught.steps import select_policy, verdicts
from tests.evaluation.test_gold_tables import NO_COMMA, THREE_WORDS, prompts

SPLIT = Path("the selection split")
ASKED = prompts([NO_COMMA, THREE_WORDS], [NO_COMMA])
# Two checkpoints, 1 and 2, on prompts a and b. Of a's instructions pi_{t-1} follows the one (no
# comma), and has two of three words of the other; on b its comma leaves 1/2.
TWO_WORDS = (1 + 2 / 3) / 2
DUELS = pa.table(
    {
        "step": [1, 1, 2, 2],
        "prompt_id": ["a", "b", "a", "b"],
        "response": ["one two three", "x, y", "x y", "x y"],
        "previous_response": ["one two", "p, q", "one two", "p, q"],
        "reward": [0.0, 5.0, 7.0, None],
        "previous_reward": [1.0, 1.0, 1.0, 1.0],
    }
)


def test_r_judges_by_rewards_and_leaves_out_a_prompt_without_one() -> None:
    found = verdicts.judged(DUELS, ASKED, "reward_model", SPLIT)
    assert found.to_pydict() == {
        "outcome": [0.0, None, 1.0, None],
        "reason": ["", "unscored", "", "unscored"],
    }


def test_gold_judges_by_the_instructions_followed_whatever_the_rewards() -> None:
    found = verdicts.judged(DUELS, ASKED, "verifiable", SPLIT)
    assert found.to_pydict() == {
        "outcome": [1.0, 0.5, 0.5, 1.0],
        "reason": ["", "", "", ""],
        "gold": [1.0, 0.5, TWO_WORDS, 1.0],
        "previous_gold": [TWO_WORDS, 0.5, TWO_WORDS, 0.5],
    }


@pytest.mark.parametrize(("ties", "rates"), [("half", [0.75, 0.75]), ("loss", [0.5, 0.5])])
def test_ties_in_gold_count_as_the_ties_of_rewards_do(ties: Ties, rates: list[float]) -> None:
    found = verdicts.judged(DUELS, ASKED, "verifiable", SPLIT)
    results = select_policy.by_step(DUELS.append_column("outcome", found["outcome"]), ties)
    assert [float(results[step].mean()) for step in (1, 2)] == rates


def test_gold_cannot_judge_responses_to_prompts_without_instructions() -> None:
    with pytest.raises(InputError, match="instruction_ids is empty; expected a verifiable prompt"):
        verdicts.judged(DUELS, prompts([NO_COMMA], []), "verifiable", SPLIT)


def reply(key: str, text: str, **logprobs: float) -> str:
    told = {"key": key, "text": text, "logprobs": logprobs or None}
    return json.dumps({**told, "prompt_tokens": 9, "completion_tokens": 1})


def test_a_language_model_judges_by_the_mean_of_both_orders() -> None:
    # Prompt a: the candidate is m, then M: it is named both times. Prompt b: m both times is the
    # candidate, then the other: even. At step 2 its log-probs say 0.8 and, shown second, 1 - 0.3.
    likely = {"m": math.log(0.8), "M": math.log(0.2)}
    swapped = {"m": math.log(0.3), "M": math.log(0.7)}
    duels = DUELS.append_column(
        "reply", [[reply("", "m"), reply("", "m"), reply("", "?", **likely), reply("", "M")]]
    ).append_column(
        "swapped_reply", [[reply("", "M"), reply("", "m"), reply("", "?", **swapped), ""]]
    )
    found = verdicts.judged(duels, ASKED, "openai", SPLIT)
    # The last reply is missing: prompt b is left out for both checkpoints.
    assert found["outcome"].to_pylist() == [1.0, None, 1.0, None]
    assert found["reason"].to_pylist() == ["", "unscored", "", "unscored"]
    preference = found["preference"].to_pylist()
    assert preference[:2] == [1.0, 0.5]
    assert preference[2] == pytest.approx((0.8 + 0.7) / 2)
    assert preference[3] is None


def test_equal_responses_of_a_duel_are_even_without_a_reply() -> None:
    duels = DUELS.set_column(2, "response", DUELS["previous_response"])
    for name in ("reply", "swapped_reply"):
        duels = duels.append_column(name, [[""] * 4])
    found = verdicts.judged(duels, ASKED, "openai", SPLIT)
    assert found["outcome"].to_pylist() == [0.5] * 4
