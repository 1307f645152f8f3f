"""Stage sample on tables: M responses to each policy prompt, or the given ones."""

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from transformers import PreTrainedTokenizerBase

from mutual_taught.artifacts import tables
from mutual_taught.artifacts.manifests import read_manifest
from mutual_taught.config.blocks import Drawing, Sample, Tokens
from mutual_taught.errors import InputError
from mutual_taught.method.splits import policy_part
from mutual_taught.models.chat import prompt_tokens, response_tokens
from mutual_taught.models.load import load_tokenizer
from mutual_taught.sampling.shards import Drawn, draw, make_plan
from mutual_taught.sampling.start import start_sampler


def responses(
    policy: Path, prompts: pa.Table, iteration: int, sample: Sample, drawing: Drawing
) -> Drawn:
    """Draw M responses to each policy prompt of iteration t, or take those given with them.

    Returns:
        Rows of `responses`, and what they were made from.
    """
    part = policy_prompts(prompts, iteration)
    if sample.source == "given":
        made_from: dict[str, object] = {
            "policy": read_manifest(policy).digest,
            "prompts": tables.rows_digest(part),
            "source": "given",
            "max_length": drawing.tokens.max_length,
        }
        return given(load_tokenizer(policy), part, drawing.tokens), made_from
    plan = make_plan("sample", iteration, sample.responses_per_prompt, sample, drawing)
    with start_sampler(drawing.engine, plan.context, drawing.tokens) as running:
        return draw(policy, part, plan, running, f"sample@{iteration}")


def policy_prompts(prompts: pa.Table, iteration: int) -> pa.Table:
    """Select D_E^t, the prompts that iteration t samples on.

    Args:
        prompts: the policy split, which has the prompts of all parts D_E^1 ... D_E^N.
        iteration: t, from 1.

    Source: Mutual-Taught, section 4.1; after t = N the parts come round again (`policy_part`).
    """
    parts = len(pc.unique(prompts["split"]))
    return prompts.filter(pc.equal(prompts["split"], policy_part(iteration, parts)))


def given(tokenizer: PreTrainedTokenizerBase, prompts: pa.Table, limits: Tokens) -> pa.Table:
    """Lay out given preferences as responses: 0 chosen, 1 rejected (offline DPO).

    They are tokenised as the policy would have drawn them: what its template makes of them, up to
    the token that ends a turn. There is no log-prob and the seed is 0, because nothing was drawn.
    A response that is longer with its prompt than `max_length` is kept, whole, and says so as its
    finish reason: it gets no reward.

    Raises:
        InputError: a prompt came without responses.
    """
    rows: dict[str, list[object]] = {name: [] for name in tables.RESPONSES.columns}
    columns = ("prompt_id", "messages", "chosen", "rejected")
    for prompt, messages, *texts in zip(
        *(prompts[name].to_pylist() for name in columns), strict=True
    ):
        asked = len(prompt_tokens(tokenizer, messages, prompt))
        for index, text in enumerate(texts):
            if text is None:
                raise InputError(
                    f"prompt {prompt}: came without answers; expected data.columns.chosen and "
                    "rejected with sample.source given"
                )
            tokens = response_tokens(tokenizer, text, messages)
            fits = asked + len(tokens) <= limits.max_length
            finish = "stop" if fits else tables.TOO_LONG
            values = (prompt, index, text, tokens, len(tokens), finish, 0, None)
            for name, value in zip(rows, values, strict=True):
                rows[name].append(value)
    return pa.table(rows, schema=tables.RESPONSES.schema)
