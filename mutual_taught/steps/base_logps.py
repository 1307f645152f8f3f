"""Log-probs of pi_0 on a policy's responses, for the KL estimate of an evaluation."""

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from mutual_taught.artifacts import joins, tables
from mutual_taught.artifacts.manifests import read_manifest
from mutual_taught.config.blocks import Drawing, Score
from mutual_taught.models import chat
from mutual_taught.models.load import load_tokenizer
from mutual_taught.models.packed.rows import Group
from mutual_taught.models.precision import settle
from mutual_taught.pipeline import work
from mutual_taught.steps.frozen import SHARD, Frozen, measured


def add_base_logps(
    responses: pa.Table, prompts: pa.Table, base: Frozen, drawing: Drawing, name: str
) -> pa.Table:
    """Add `base_logprob`: the log-prob of every response under pi_0, in nats.

    Args:
        responses: rows of `generations`, as many a prompt, sorted; `logprob` is the policy's own.
        prompts: table `prompts`, those that were answered.
        base: pi_0, and how it is run.
        drawing: where it is run.
        name: of the work folder.
    """
    inputs: dict[str, object] = {
        "policy": read_manifest(base.folder).digest,
        "answers": tables.rows_digest(
            responses.select(["prompt_id", "response_index", "token_ids"])
        ),
        "prompts": tables.rows_digest(prompts.select(["prompt_id", "messages"])),
        "dtype": base.dtype,
        "token_budget": base.token_budget,
        "shard": SHARD,
    }
    with work.folder(name, inputs) as place:
        groups = response_groups(responses, prompts, base.folder)
        logps = measured(groups, base, drawing.engine.workers, place, "log-probs under pi_0")
    return responses.append_column("base_logprob", pa.array(logps.ravel(), pa.float64()))


def base_policy(folder: Path, drawing: Drawing, score: Score) -> Frozen:
    """Say how pi_0 is run: in the format of sampling, in packed rows as long as those of scoring.

    So it is as near to the sampler's log-probs as two ways of computing get, and there is no
    parameter of its own.
    """
    dtype = settle(drawing.engine).dtype
    assert dtype != "auto"
    return Frozen(folder, dtype, score.token_budget, drawing.tokens)


def response_groups(responses: pa.Table, prompts: pa.Table, policy: Path) -> list[Group]:
    """Lay out each prompt with all its responses as token ids, in the order of the responses."""
    tokenizer = load_tokenizer(policy)
    ids = pc.unique(responses["prompt_id"]).to_pylist()
    width = len(responses) // len(ids)
    asked = joins.align(prompts, ids, Path("the eval split"))["messages"].to_pylist()
    tokens = responses["token_ids"].to_pylist()
    return [
        Group(
            chat.prompt_tokens(tokenizer, messages, prompt),
            tokens[place * width : (place + 1) * width],
        )
        for place, (prompt, messages) in enumerate(zip(ids, asked, strict=True))
    ]
