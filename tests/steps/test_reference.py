"""Reference log-probs in shards: whatever was interrupted, the same bytes."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from transformers import AutoModelForCausalLM

from mutual_taught.config.blocks import RankPairs, Tokens
from mutual_taught.models import chat
from mutual_taught.models.load import load_tokenizer
from mutual_taught.models.packed.forward import reference_logps
from mutual_taught.models.packed.rows import Group
from mutual_taught.steps import frozen, reference
from mutual_taught.steps.reference import Pairs, Reference

TOKENS = Tokens(max_prompt_tokens=100, max_length=200, date=None)
SETTINGS = RankPairs(
    length_neutral=False,
    ended_only=False,
    chosen="highest",
    reference="previous",
    reference_logps="trainer",
    reference_dtype="float32",
    token_budget=300,
)
COUNT = 5


@pytest.fixture
def pairs() -> Pairs:
    """Five prompts with three responses each; of the second prompt no pair was kept."""
    ids = [f"{number:032x}" for number in range(COUNT)]
    ranked = pa.table(
        {
            "prompt_id": ids,
            "chosen_index": [0, None, 2, 1, 0],
            "rejected_index": [1, None, 0, 2, 2],
            "kept": [True, False, True, True, True],
        }
    )
    responses = pa.table(
        {
            "prompt_id": [name for name in ids for _ in range(3)],
            "response_index": [0, 1, 2] * COUNT,
            "token_ids": [[40 + n, 41 + n, 42][: 1 + n % 3] for n in range(3 * COUNT)],
        }
    )
    messages = [[{"role": "user", "content": f"Name {n} boats."}] for n in range(COUNT)]
    prompts = pa.table({"prompt_id": ids, "messages": messages})
    return Pairs(ranked, responses, responses, prompts, Path("prompts"))


def measured(pairs: Pairs, policy: Path) -> pa.Table:
    return reference.add_logps(pairs, Reference(policy, SETTINGS, TOKENS), "local", "rank@1")[0]


def test_log_probs_are_those_of_single_sequences(
    here: Path, policy_folder: Path, pairs: Pairs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frozen, "SHARD", 3)
    rows = measured(pairs, policy_folder)
    assert rows["reference_chosen_logps"].is_valid().to_pylist() == [True, False, True, True, True]
    tokenizer = load_tokenizer(policy_folder)
    model = AutoModelForCausalLM.from_pretrained(
        policy_folder, dtype=torch.float32, trust_remote_code=False
    )
    messages = [{"role": "user", "content": "Name 2 boats."}]
    prompt = chat.prompt_tokens(tokenizer, messages, "prompt")
    response = pairs.responses["token_ids"].to_pylist()[2 * 3 + 2]  # chosen of the third prompt
    ids = torch.tensor([[*prompt, *response]])
    with torch.inference_mode():
        logps = model(ids).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
    alone = float(logps.gather(1, ids[0, len(prompt) :, None]).sum())
    assert rows["reference_chosen_logps"][2].as_py() == pytest.approx(alone, abs=1e-5)


def test_interrupted_measuring_goes_on_and_ends_with_the_same_bytes(
    here: Path, policy_folder: Path, pairs: Pairs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frozen, "SHARD", 2)
    whole = reference_logps
    seen: list[int] = []

    def stops(after: int) -> Callable[..., list[list[float]]]:
        def measure(policy: object, groups: Sequence[Group], *rest: object) -> list[list[float]]:
            if len(seen) == after:
                raise KeyboardInterrupt
            seen.append(len(groups))
            return whole(policy, groups, *rest)  # type: ignore[arg-type]

        return measure

    monkeypatch.setattr(frozen, "reference_logps", stops(1))
    with pytest.raises(KeyboardInterrupt):
        measured(pairs, policy_folder)
    monkeypatch.setattr(frozen, "reference_logps", stops(99))
    went_on = measured(pairs, policy_folder)
    assert seen == [2, 2]  # of four kept pairs, none was measured twice
    monkeypatch.chdir(here.parent)
    assert measured(pairs, policy_folder).equals(went_on)
    assert np.isfinite(went_on["reference_rejected_logps"].drop_null().to_numpy()).all()


def test_other_pairs_are_measured_anew(here: Path, policy_folder: Path, pairs: Pairs) -> None:
    first = measured(pairs, policy_folder)
    swapped = pairs.ranked.rename_columns(
        ["prompt_id", "rejected_index", "chosen_index", "kept"]
    ).select(pairs.ranked.column_names)
    other = measured(pairs._replace(ranked=swapped), policy_folder)
    assert other["reference_chosen_logps"].equals(first["reference_rejected_logps"])
