"""Responses of a policy to prompts, in shards."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from mutual_taught.artifacts import tables
from mutual_taught.measuring.settings import Terms
from mutual_taught.models.chat import plain
from mutual_taught.models.load import load_tokenizer
from mutual_taught.models.message import Message
from mutual_taught.sampling.sampler import Sampler
from mutual_taught.sampling.shards import Drawn, draw, make_plan

STAGE = "measure"  # what the seeds are keyed by, with iteration 0: the same for every policy
ASKED = pa.schema([("prompt_id", tables.TEXT), ("messages", tables.MESSAGES)])


class Question(NamedTuple):
    """A conversation to be answered; the id is 32 hex digits, and decides the seeds."""

    prompt_id: str
    messages: Sequence[Message]


def answer(
    sampler: Sampler, policy: Path, asked: Sequence[Question], terms: Terms, name: str
) -> Drawn:
    """Draw `terms.responses` responses to each prompt, going on after an interruption.

    Seeds come from the run's seed, the prompt's id and the response's index, so two policies are
    compared on the same draws. Special tokens spelt out in a prompt are broken up.

    Args:
        sampler: takes the policy.
        policy: its folder, with a manifest.
        asked: in any order, each id once.
        terms: how responses are drawn.
        name: of the work folder.

    Returns:
        Rows of `responses`, sorted, and what they were made from.

    Raises:
        InputError: a prompt is too long for the policy, or its template refuses it.
    """
    tokenizer = load_tokenizer(policy)
    rows = [
        {
            "prompt_id": one.prompt_id,
            "messages": [
                {"role": turn["role"], "content": plain(tokenizer, turn["content"])}
                for turn in one.messages
            ],
        }
        for one in sorted(asked, key=lambda one: one.prompt_id)
    ]
    plan = make_plan(STAGE, 0, terms.responses, terms.decoding, terms.drawing)
    drawn, made_from = draw(policy, pa.Table.from_pylist(rows, ASKED), plan, sampler, name)
    return tables.RESPONSES.sorted(drawn), made_from
