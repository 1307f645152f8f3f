"""Scoring on tables, in fixed shards: rewards go by prompt id and index, never by position."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mutual_taught import reward, scorers, tables, work
from mutual_taught.blocks import Tokens
from mutual_taught.errors import InputError
from mutual_taught.files import read_manifest
from mutual_taught.progress import bar, title
from mutual_taught.reward import Asked, Fitting, Rewards

Scored = tuple[pa.Table, dict[str, object]]
ASKED = pa.schema(
    [("prompt_id", tables.TEXT), ("messages", tables.MESSAGES), ("responses", tables.TEXTS)]
)


def rewards(
    scorer: scorers.Scorer, responses: pa.Table, path: Path, reward_model: Path,
    prompts: pa.Table, prompts_path: Path, tokens: Tokens, name: str,
) -> Scored:  # fmt: skip
    """Score all responses that fit the reward model, and the policy.

    Args:
        scorer: takes the reward model.
        responses: table `responses`, sorted.
        path: where it was read from.
        reward_model: folder of r_{t-1}.
        prompts: table `prompts`.
        prompts_path: where it was read from.
        tokens: limits.
        name: of the work folder.

    Returns:
        Rows of `rewards`, and what they were made from.
    """
    asked = by_prompt(responses, path, prompts, prompts_path)
    scored = score_all(scorer, reward_model, asked, tokens, name)
    tables.same_keys(responses, scored, tables.REWARDS, path)
    scored = _without_overlong(scored, responses)
    return scored, made_from(reward_model, scorer, tokens, responses=responses)


def answer_rewards(
    scorer: scorers.Scorer, answers: pa.Table, previous: pa.Table, previous_path: Path,
    reward_model: Path, prompts: pa.Table, tokens: Tokens, name: str,
) -> Scored:  # fmt: skip
    """Score pi_t's and pi_{t-1}'s answers to the reward prompts under r_{t-1}.

    Returns:
        Rows of `answer_rewards`, and what they were made from.
    """
    ids = sorted(answers["prompt_id"].to_pylist())
    own = tables.align(answers, ids, previous_path)["response"].to_pylist()
    before = tables.align(previous, ids, previous_path)["response"].to_pylist()
    asked = together(ids, [own, before], prompts, previous_path)
    scored = score_all(scorer, reward_model, asked, tokens, name)
    both, why = (spread(scored, ids, 2, name) for name in ("reward", "reason"))
    rows: dict[str, object] = {"prompt_id": ids}
    for side, prefix in enumerate(("", "previous_")):
        rows[f"{prefix}reward"] = tables.numbers(both[:, side])
        rows[f"{prefix}reason"] = why[:, side]
    inputs = {"answers": answers, "previous_answers": previous}
    return pa.table(rows), made_from(reward_model, scorer, tokens, **inputs)


def _without_overlong(scored: pa.Table, responses: pa.Table) -> pa.Table:
    """Take the rewards from given answers that are too long for the policy."""
    overlong = pc.equal(responses["finish_reason"], tables.TOO_LONG).to_numpy()
    values = np.where(overlong, np.nan, scored["reward"].to_numpy())
    why = np.where(overlong, tables.TOO_LONG, scored["reason"].to_numpy(zero_copy_only=False))
    keys = scored.select(list(tables.REWARDS.keys))
    return keys.append_column("reward", tables.numbers(values)).append_column(
        "reason", pa.array(why, tables.TEXT)
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
    count = tables.width(responses, path)
    ids = responses["prompt_id"].to_pylist()[::count]
    texts = responses["response"].to_pylist()
    return together(ids, [texts[index::count] for index in range(count)], prompts, prompts_path)


def together(
    ids: Sequence[str], columns: Sequence[Sequence[str]], prompts: pa.Table, path: Path
) -> list[Asked]:
    """Put the prompts of the given ids beside their answers, one column an index."""
    messages = tables.align(prompts, ids, path)["messages"].to_pylist()
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
        columns.append(tables.align(own, ids, Path("rewards"))[column].to_numpy())
    return np.stack(columns, axis=1)


def score_all(
    scorer: scorers.Scorer, reward_model: Path, asked: Sequence[Asked], tokens: Tokens, name: str
) -> pa.Table:
    """Score answers, going on from the shards that an interrupted run finished.

    Args:
        scorer: takes the reward model.
        reward_model: its folder.
        asked: prompts with their answers, in any order; each prompt once.
        tokens: limits.
        name: of the work folder; each scoring of a stage has its own.

    Returns:
        Rows of `rewards`, sorted; the index is the place among the prompt's answers.

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
    scorer: scorers.Scorer, asked: Sequence[Asked], max_length: int, parts: Path, name: str
) -> pa.Table:
    """Score in shards of `shard_size` prompts; finished ones in `parts` are not scored again.

    Equal answers to a prompt are scored once. One that does not fit is not scored: its reward is
    null, with the reason. The partition depends on the sorted prompts alone, so an interrupted run
    ends with the same bytes.

    Args:
        scorer: holds r.
        asked: prompts with their answers, sorted by id.
        max_length: tokens a conversation with its answer may have.
        parts: folder of finished shards.
        name: of the work folder, for the bar.
    """
    size = scorer.settings.shard_size
    cut = [asked[at : at + size] for at in range(0, len(asked), size)]
    paths = [parts / f"part-{number:05d}" / "rewards.parquet" for number in range(len(cut))]
    missing = [number for number, path in enumerate(paths) if not path.exists()]
    fitting = {
        number: [
            reward.fitting(scorer.tokenizer, _distinct(one), max_length) for one in cut[number]
        ]
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
            ready += counts[number]  # with equal answers and those that do not fit
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
                "prompt_id": one.prompt_id, "response_index": index, "reward": of.get(text),
                "reason": why[text],
            }
            for index, text in enumerate(one.responses)
        ]  # fmt: skip
    return pa.Table.from_pylist(rows, tables.REWARDS.schema)


def made_from(
    reward_model: Path, scorer: scorers.Scorer, tokens: Tokens, **inputs: pa.Table
) -> dict[str, object]:
    """Give the provenance of rewards: never how the rows were packed."""
    return {
        "reward_model": read_manifest(reward_model).digest, "dtype": scorer.settings.dtype,
        "max_length": tokens.max_length, **tables.digests(**inputs),
    }  # fmt: skip
