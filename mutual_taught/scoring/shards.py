"""Scoring in fixed shards: rewards go by prompt id and index, never by position."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mutual_taught.artifacts import joins, tables
from mutual_taught.artifacts.manifests import read_manifest
from mutual_taught.config.blocks import Tokens
from mutual_taught.errors import InputError
from mutual_taught.models.packed.conversations import Asked, Fitting, fit_responses
from mutual_taught.pipeline import work
from mutual_taught.scoring.rewards import Rewards
from mutual_taught.scoring.scorer import Scorer
from mutual_taught.terminal.progress import bar, title

Scored = tuple[pa.Table, dict[str, object]]
ASKED = pa.schema(
    [("prompt_id", tables.TEXT), ("messages", tables.MESSAGES), ("responses", tables.TEXTS)]
)


def by_prompt(
    responses: pa.Table, path: Path, prompts: pa.Table, prompts_path: Path
) -> list[Asked]:
    """Gather the responses to each prompt, in order of their index.

    Args:
        responses: table `responses`, sorted.
        path: where it was read from.
        prompts: table `prompts`.
        prompts_path: where it was read from.
    """
    count = joins.width(responses, path)
    ids = responses["prompt_id"].to_pylist()[::count]
    texts = responses["response"].to_pylist()
    return together(ids, [texts[index::count] for index in range(count)], prompts, prompts_path)


def together(
    ids: Sequence[str], columns: Sequence[Sequence[str]], prompts: pa.Table, path: Path
) -> list[Asked]:
    """Put the prompts of the given ids beside their responses, one column an index."""
    messages = joins.align(prompts, ids, path)["messages"].to_pylist()
    rows = zip(ids, messages, zip(*columns, strict=True), strict=True)
    return [Asked(prompt, turns, texts) for prompt, turns, texts in rows]


def spread(
    scored: pa.Table, ids: Sequence[str], count: int, column: str = "reward"
) -> NDArray[Any]:
    """Give the rewards (or reasons) of the given prompts by response index, NaN where is none.

    Returns:
        Shape (prompts, count).
    """
    columns = []
    for index in range(count):
        own = scored.filter(pc.equal(scored["response_index"], index))
        columns.append(joins.align(own, ids, Path("rewards"))[column].to_numpy())
    return np.stack(columns, axis=1)


def score_all(
    scorer: Scorer, reward_model: Path, asked: Sequence[Asked], tokens: Tokens, name: str
) -> pa.Table:
    """Score responses, going on from the shards that an interrupted run finished.

    Args:
        scorer: takes the reward model.
        reward_model: its folder.
        asked: prompts with their responses, in any order; each prompt once.
        tokens: limits.
        name: of the work folder; each scoring of a stage has its own.

    Returns:
        Rows of `rewards`, sorted; the index is the place among the prompt's responses.

    Raises:
        InputError: a reward is not finite.
    """
    asked = sorted(asked, key=lambda one: one.prompt_id)
    columns = [list(column) for column in zip(*asked, strict=True)]
    fingerprint = {
        "reward_model": read_manifest(reward_model).digest,
        "asked": tables.rows_digest(pa.table(columns, schema=ASKED)),
        "score": scorer.settings.model_dump(),
        "max_length": tokens.max_length,
    }
    with work.folder(name, fingerprint) as parts:
        scorer.load(reward_model)
        return score_prompts(scorer, asked, tokens.max_length, parts, name)


def score_prompts(
    scorer: Scorer, asked: Sequence[Asked], max_length: int, parts: Path, name: str
) -> pa.Table:
    """Score in shards of `shard_size` prompts; finished ones in `parts` are not scored again.

    Equal responses to a prompt are scored once. One that does not fit is not scored: its reward is
    null, with the reason. The partition depends only on the sorted prompts, so an interrupted run
    ends with the same bytes.

    Args:
        scorer: holds r.
        asked: prompts with their responses, sorted by id.
        max_length: tokens a conversation with its response may have.
        parts: folder of finished shards.
        name: of the work folder, for the bar.
    """
    size = scorer.settings.shard_size
    cut = [asked[at : at + size] for at in range(0, len(asked), size)]
    paths = [tables.REWARDS.path(parts / f"part-{number:05d}") for number in range(len(cut))]
    missing = [number for number, path in enumerate(paths) if not path.exists()]
    fitting = {
        number: [fit_responses(scorer.tokenizer, _distinct(one), max_length) for one in cut[number]]
        for number in missing
    }
    todo = {
        number: [one.group for one in shard if one.group is not None]
        for number, shard in fitting.items()
    }
    counts = [sum(len(one.responses) for one in shard) for shard in cut]
    ready = sum(counts) - sum(counts[number] for number in missing)
    with bar(title(name, "rewards"), sum(counts), "answer", ready) as progress:
        for number, found in scorer.score(todo, progress.update):
            rows = _rows(cut[number], fitting[number], found)
            tables.write(paths[number].parent, tables.REWARDS, rows, {})
            ready += counts[number]  # with equal responses and those that do not fit
            progress.update(ready - progress.n)
    finished = [tables.read(path, tables.REWARDS) for path in paths]
    return pa.concat_tables(part.replace_schema_metadata() for part in finished).combine_chunks()


def _distinct(asked: Asked) -> Asked:
    """Keep every text once, in order of its first index."""
    return asked._replace(responses=list(dict.fromkeys(asked.responses)))


def _rows(asked: Sequence[Asked], fitting: Sequence[Fitting], found: Rewards) -> pa.Table:
    """Lay out the rewards of a shard's distinct texts as rows of `rewards`."""
    rows: list[dict[str, object]] = []
    scored = iter(found)
    for one, (group, reasons) in zip(asked, fitting, strict=True):
        values = np.empty(0) if group is None else next(scored)
        if not np.isfinite(values).all():
            raise InputError(
                f"prompt {one.prompt_id}: reward is NaN or infinite; expected a number; try "
                "score.dtype float32, or another reward model"
            )
        why = dict(zip(_distinct(one).responses, reasons, strict=True))
        texts = (text for text, reason in why.items() if not reason)
        of = dict(zip(texts, values.tolist(), strict=True))
        rows += [
            {
                "prompt_id": one.prompt_id,
                "response_index": index,
                "reward": of.get(text),
                "reason": why[text],
            }
            for index, text in enumerate(one.responses)
        ]
    return pa.Table.from_pylist(rows, tables.REWARDS.schema)


def made_from(
    reward_model: Path, scorer: Scorer, tokens: Tokens, **inputs: pa.Table
) -> dict[str, object]:
    """Give the provenance of rewards: never how the rows were packed."""
    return {
        "reward_model": read_manifest(reward_model).digest,
        "dtype": scorer.settings.dtype,
        "max_length": tokens.max_length,
        **tables.digests(**inputs),
    }
