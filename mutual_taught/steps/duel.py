"""Duels on D_MS: one engine answers for every checkpoint and pi_{t-1}; r_{t-1}, or gold, judges."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mutual_taught.artifacts import joins, tables
from mutual_taught.artifacts.manifests import STEP, read_manifest, read_steps
from mutual_taught.config.blocks import Drawing, Duel, Score
from mutual_taught.errors import InputError
from mutual_taught.evaluation import gold_tables
from mutual_taught.evaluation.judges.endpoint import key_of
from mutual_taught.method.selection import Judge, seeds_of
from mutual_taught.sampling.shards import DrawPlan, draw, make_plan
from mutual_taught.sampling.start import start_sampler
from mutual_taught.scoring import shards
from mutual_taught.scoring.start import start_scorer
from mutual_taught.steps import model_verdicts
from mutual_taught.steps.model_verdicts import Asking
from mutual_taught.steps.verdicts import judged

SPLIT = Path("the selection split")  # in messages
SIDE = ("response", "token_ids", "finish_reason", "seed")


class Duellists(NamedTuple):
    """Folders: the candidates', pi_{t-1}'s, and that of r_{t-1}."""

    checkpoints: Path
    policy: Path
    reward_model: Path


class DuelTerms(NamedTuple):
    """The values of params.yaml that decide duels, and the run's seed.

    asking: the language model that judges, where one does.
    """

    duel: Duel
    score: Score
    drawing: Drawing
    judge: Judge
    asking: Asking | None = None


def duel(
    models: Duellists, prompts: pa.Table, iteration: int, terms: DuelTerms
) -> tuple[pa.Table, dict[str, object]]:
    """Let every checkpoint and pi_{t-1} answer every selection prompt, and judge who did better.

    Args:
        models: who duels, and r_{t-1}, which scores all responses.
        prompts: those of D_MS, table `prompts`.
        iteration: t.
        terms: how responses are drawn and scored, and who judges them.

    Returns:
        Rows of `duels`, and what they were made from.

    Raises:
        InputError: there is no checkpoint; gold is to judge, and a prompt has no instructions; or a
            language model is, and its key is not set.
    """
    if terms.judge == "verifiable":
        gold_tables.require_verifiable(prompts, "selection", "select_policy.judge is verifiable")
    if terms.asking is not None:
        key_of(terms.asking.endpoint)
    steps = read_steps(models.checkpoints)
    if not steps:
        raise InputError(f"{models.checkpoints}: holds no checkpoint; expected at least one")
    folders = [models.policy, *(models.checkpoints / STEP.format(step) for step in steps)]
    responses, dtype = _responses(folders, prompts, iteration, terms)
    rewards = _rewards(responses, models.reward_model, prompts, iteration, terms)
    fought = pa.concat_tables(
        _rows(step, responses[0], responses[n], rewards[[0, n]]) for n, step in enumerate(steps, 1)
    )
    if terms.asking is not None:
        said = model_verdicts.replies(fought, prompts, terms.asking, SPLIT)
        for name in said.column_names:
            fought = fought.append_column(name, said[name])
    verdicts = judged(fought, prompts, terms.judge, SPLIT)
    for name in verdicts.column_names:
        fought = fought.append_column(name, verdicts[name])
    made_from: dict[str, object] = {
        "policies": [read_manifest(folder).digest for folder in folders],
        "reward_model": read_manifest(models.reward_model).digest,
        "prompts": tables.rows_digest(prompts.select(["prompt_id", "messages"])),
        "duel": terms.duel.model_dump(),
        "max_length": terms.drawing.tokens.max_length,
        "seed": terms.drawing.seed,
        "dtype": dtype,
        "partition": terms.drawing.engine.partition,
        **terms.drawing.engine.decides(),
    }
    if terms.judge == "verifiable":
        made_from["judge"] = terms.judge
        made_from["instructions"] = tables.rows_digest(prompts.select(gold_tables.INSTRUCTIONS))
    if terms.asking is not None:
        made_from |= {"judge": terms.judge, "judge_model": terms.asking.model}
    return fought, made_from


def _responses(
    folders: Sequence[Path], prompts: pa.Table, iteration: int, terms: DuelTerms
) -> tuple[list[pa.Table], str]:
    """Draw the responses of pi_{t-1}, whose folder is first, and of the candidates; rows alike.

    Returns:
        A table of `responses` for each folder, and the number format they were drawn in.
    """
    candidates, previous = (
        make_plan(stage, iteration, terms.duel.responses_per_prompt, terms.duel, terms.drawing)
        for stage in seeds_of(terms.duel.draws)
    )
    plans: list[DrawPlan] = [previous, *[candidates] * (len(folders) - 1)]
    with start_sampler(terms.drawing.engine, candidates.context, terms.drawing.tokens) as running:
        drawn = [
            draw(folder, prompts, plan, running, f"duel@{iteration}-{folder.name}")[0]
            for folder, plan in zip(folders, plans, strict=True)
        ]
    responses = [tables.RESPONSES.sorted(table) for table in drawn]
    for table, folder in zip(responses[1:], folders[1:], strict=True):
        joins.same_keys(responses[0], table, tables.RESPONSES, folder)
    return responses, running.settings.dtype


def _rewards(
    responses: Sequence[pa.Table], judge: Path, prompts: pa.Table, iteration: int, terms: DuelTerms
) -> NDArray[np.float64]:
    """Score all responses under r_{t-1}, those to one prompt together: shape (folders, rows)."""
    count = terms.duel.responses_per_prompt
    ids = responses[0]["prompt_id"].to_pylist()[::count]
    texts = [table["response"].to_pylist() for table in responses]
    columns = [said[index::count] for said in texts for index in range(count)]
    asked = shards.together(ids, columns, prompts, SPLIT)
    with start_scorer(terms.score, terms.drawing.engine.workers, terms.drawing.tokens) as scorer:
        name = f"duel@{iteration}-rewards"
        scored = shards.score_all(scorer, judge, asked, terms.drawing.tokens, name)
    by_prompt = shards.spread(scored, ids, len(columns))  # (prompts, folders * count)
    apart = by_prompt.reshape(len(ids), len(responses), count).swapaxes(0, 1)
    return np.asarray(apart.reshape(len(responses), len(ids) * count))


def _rows(step: int, previous: pa.Table, own: pa.Table, rewards: NDArray[np.float64]) -> pa.Table:
    """Lay a candidate's responses beside pi_{t-1}'s; rewards: (2, rows), pi_{t-1}'s first."""
    rows: dict[str, object] = {
        "step": np.full(len(own), step),
        "prompt_id": own["prompt_id"],
        "response_index": own["response_index"],
    }
    for name in SIDE:
        rows[name], rows[f"previous_{name}"] = own[name], previous[name]
    rows["reward"], rows["previous_reward"] = map(tables.numbers, rewards[::-1])
    return pa.table(rows)
