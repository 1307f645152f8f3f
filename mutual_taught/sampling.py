"""Sampling on tables: which prompts, whose seeds, resumable."""

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from mutual_taught import engines, models, tables, work
from mutual_taught.blocks import Answer, Decoding, Engine, Sample, Tokens
from mutual_taught.chat import answer_tokens, prompt_tokens
from mutual_taught.errors import InputError
from mutual_taught.files import read_manifest
from mutual_taught.generate import Decode
from mutual_taught.shards import Plan, sample_prompts
from mutual_taught.splits import policy_part

Drawn = tuple[pa.Table, dict[str, object]]


def responses(
    policy: Path, prompts: pa.Table, iteration: int, sample: Sample, engine: Engine,
    tokens: Tokens, seed: int,
) -> Drawn:  # fmt: skip
    """Draw M responses to each policy prompt of iteration t, or take those given with them.

    Returns:
        Rows of `responses`, and what they were made from.
    """
    parts = len(pc.unique(prompts["split"]))
    part = prompts.filter(pc.equal(prompts["split"], policy_part(iteration, parts)))
    if sample.source == "given":
        return _given(policy, part, tokens)
    plan = make_plan("sample", iteration, seed, sample.responses_per_prompt, sample, engine, tokens)
    with engines.start(engine, plan.context, tokens) as running:
        return draw(policy, part, plan, running, f"sample@{iteration}")


def _given(policy: Path, prompts: pa.Table, limits: Tokens) -> Drawn:
    """Lay out given preferences as responses: 0 chosen, 1 rejected (offline DPO).

    They are tokenised as the policy would have drawn them: what its template makes of them, up to
    the token that ends a turn. There is no log-prob and the seed is 0, because nothing was drawn.
    An answer that is longer with its prompt than `max_length` is kept, whole, and says so as its
    finish reason: it gets no reward.

    Raises:
        InputError: a prompt came without answers.
    """
    tokenizer = models.load_tokenizer(policy)
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
            tokens = answer_tokens(tokenizer, text, messages)
            fits = asked + len(tokens) <= limits.max_length
            finish = "stop" if fits else tables.TOO_LONG
            values = (prompt, index, text, tokens, len(tokens), finish, 0, None)
            for name, value in zip(rows, values, strict=True):
                rows[name].append(value)
    made_from: dict[str, object] = {
        "policy": read_manifest(policy).digest,
        "prompts": tables.rows_digest(prompts),
        "source": "given",
        "max_length": limits.max_length,
    }
    return pa.table(rows, schema=tables.RESPONSES.schema), made_from


def answer(
    policy: Path, prompts: pa.Table, iteration: int, settings: Answer, engine: Engine,
    tokens: Tokens, seed: int,
) -> Drawn:  # fmt: skip
    """Draw one answer to each prompt of the reward split.

    Returns:
        Rows of `answers`, and what they were made from.
    """
    plan = make_plan("answer", iteration, seed, 1, settings, engine, tokens)
    with engines.start(engine, plan.context, tokens) as running:
        drawn, made_from = draw(policy, prompts, plan, running, f"answer@{iteration}")
    return drawn.select(list(tables.ANSWERS.columns)), made_from


def make_plan(
    stage: str, iteration: int, seed: int, count: int, decoding: Decoding, engine: Engine,
    tokens: Tokens,
) -> Plan:  # fmt: skip
    """Put together what decides the draws of a stage."""
    decode = Decode(decoding.temperature, decoding.top_p, decoding.max_new_tokens)
    return Plan(
        stage, iteration, seed, count, decode, tokens.max_prompt_tokens, engine.shard_size,
        engine.batch_size,
    )  # fmt: skip


def draw(policy: Path, prompts: pa.Table, plan: Plan, engine: engines.Engine, name: str) -> Drawn:
    """Draw answers by a plan, going on from the shards that an interrupted run finished.

    Args:
        policy: folder of the model; the engine takes its weights.
        prompts: table `prompts`, those to answer.
        plan: seeds, decoding, partition.
        engine: what draws.
        name: of the work folder.
    """
    made_from: dict[str, object] = {
        "policy": read_manifest(policy).digest,
        "prompts": tables.rows_digest(prompts.select(["prompt_id", "messages"])),
        "plan": [*plan[:4], *plan.decode, *plan[5:]],
        "dtype": engine.settings.dtype,
        **engine.settings.decides(),
    }
    with work.folder(name, made_from) as parts:
        engine.load(policy)
        return sample_prompts(engine, prompts, plan, parts, name), made_from
