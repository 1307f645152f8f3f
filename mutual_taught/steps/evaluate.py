"""Evaluation with models: responses to the held-out prompts, scores under r_t and r_0."""

from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from mutual_taught.artifacts import files, joins, tables
from mutual_taught.artifacts.manifests import read_manifest
from mutual_taught.config.blocks import Drawing, Eval, Score, Tokens
from mutual_taught.evaluation.judge import (
    HELD_OUT,
    Systems,
    add_gold,
    gold_pair_scores,
    judge,
    model_outputs,
    own_pairs,
)
from mutual_taught.evaluation.metrics import policy_metrics
from mutual_taught.evaluation.reward_metrics import reward_model_metrics
from mutual_taught.sampling.shards import Drawn, draw, make_plan
from mutual_taught.sampling.start import start_sampler
from mutual_taught.scoring import shards
from mutual_taught.scoring.scorer import Scorer
from mutual_taught.scoring.start import start_scorer
from mutual_taught.steps.base_logps import add_base_logps, base_policy


class EvalInputs(NamedTuple):
    """Models, gold pairs, and earlier evaluations: None at iteration 0, compared with itself."""

    policy: Path
    base_policy: Path
    reward_model: Path
    previous_reward_model: Path
    base_reward_model: Path
    gold_pairs: Path
    base_eval: Path | None
    previous_eval: Path | None


class EvalTerms(NamedTuple):
    """The values of params.yaml that decide an evaluation, and the run's seed."""

    eval: Eval
    score: Score
    drawing: Drawing


def assess(inputs: EvalInputs, prompts: pa.Table, out: Path, terms: EvalTerms) -> None:
    """Answer, score, judge, measure; write `eval/` and `metrics/eval.json`.

    Args:
        inputs: models, and what they are compared with.
        prompts: of the eval split, table `prompts`.
        out: folder of the iteration.
        terms: how responses are drawn and scored.
    """
    responses, drawn_from = _responses(inputs.policy, prompts, out, terms)
    tokens, seed = terms.drawing.tokens, terms.drawing.seed
    with start_scorer(terms.score, terms.drawing.engine.workers, tokens) as scorer:
        own, held_out = _rewards(inputs, prompts, responses, scorer, tokens, out.name)
    own = _base_logps(inputs, own, prompts, terms, f"eval@{out.name}-base")
    limit = {"max_length": tokens.max_length}
    told = {**drawn_from, **_compared_with(inputs), **limit}
    path = tables.write(out / "eval", tables.GENERATIONS, own, told)
    own = tables.read(path, tables.GENERATIONS)
    systems = Systems(own, _earlier(inputs.base_eval, own), _earlier(inputs.previous_eval, own))
    judgements = judge(systems)
    made_from = {"reward_model": read_manifest(inputs.reward_model).digest, **limit}
    tables.write(out / "eval", tables.JUDGEMENTS, judgements, made_from)
    scores = _rm_scores(inputs, own, held_out)
    tables.write(out / "eval", tables.RM_SCORES, scores, made_from, active=len(scores) > 0)
    metrics = {
        "active": 1.0,
        **policy_metrics(systems, judgements, seed),
        **reward_model_metrics(scores, seed),
    }
    files.write_metrics(out / "metrics" / "eval.json", metrics)
    outputs = model_outputs(own, prompts, f"mutual-taught-{out.name}")
    files.write_json(out / "eval" / "model_outputs.json", outputs)


def _responses(policy: Path, prompts: pa.Table, out: Path, terms: EvalTerms) -> Drawn:
    """Draw the policy's responses, with gold; seeds are those of iteration 0 for every t."""
    drawing = terms.drawing
    plan = make_plan("eval", 0, terms.eval.responses_per_prompt, terms.eval, drawing)
    with start_sampler(drawing.engine, plan.context, drawing.tokens) as running:
        drawn, made_from = draw(policy, prompts, plan, running, f"eval@{out.name}")
    return add_gold(tables.GENERATIONS.sorted(drawn), prompts), made_from


def _rewards(
    inputs: EvalInputs,
    prompts: pa.Table,
    drawn: pa.Table,
    scorer: Scorer,
    tokens: Tokens,
    iteration: str,
) -> tuple[pa.Table, list[pa.Table]]:
    """Add the rewards of r_0, r_{t-1} and r_t to the responses, and score held-out gold pairs."""
    split = Path("the eval split")
    asked = shards.by_prompt(drawn, split, prompts, split)
    models = _models(inputs)
    digests = {name: read_manifest(folder).digest for name, folder in models.items()}
    scored: dict[str, pa.Table] = {}  # by the model's digest: the same one scores once
    for name in sorted(models, key=lambda name: digests[name] == digests["rt"]):
        if digests[name] not in scored:
            work = f"eval@{iteration}-rewards-{name}"
            found = shards.score_all(scorer, models[name], asked, tokens, work)
            joins.same_keys(drawn, found, tables.REWARDS, split)
            scored[digests[name]] = found
    for name, digest in digests.items():
        drawn = drawn.append_column(f"reward_{name}", scored[digest]["reward"])
    # Every reward model reads as r_0 does.
    drawn = drawn.append_column("reason", scored[digests["rt"]]["reason"])
    pairs = tables.read(inputs.gold_pairs, tables.GOLD_PAIRS)
    held_out = pairs.filter(pc.equal(pairs["part"], HELD_OUT))
    if not len(held_out):
        return drawn, []
    return drawn, _gold_pair_scores(
        inputs, held_out, scorer, tokens, f"eval@{iteration}-rewards-gold"
    )


def _models(inputs: EvalInputs) -> dict[str, Path]:
    """Name the reward models that score the responses."""
    return {
        "rt": inputs.reward_model,
        "r0": inputs.base_reward_model,
        "previous": inputs.previous_reward_model,
    }


def _base_logps(
    inputs: EvalInputs, own: pa.Table, prompts: pa.Table, terms: EvalTerms, name: str
) -> pa.Table:
    """Add the responses' log-probs under pi_0; those of pi_0's own responses are the sampler's."""
    if read_manifest(inputs.policy).digest == read_manifest(inputs.base_policy).digest:
        return own.append_column("base_logprob", own["logprob"])
    base = base_policy(inputs.base_policy, terms.drawing, terms.score)
    return add_base_logps(own, prompts, base, terms.drawing, name)


def _compared_with(inputs: EvalInputs) -> dict[str, object]:
    """Name the models whose numbers stand beside the policy's responses."""
    return {
        "base_policy": read_manifest(inputs.base_policy).digest,
        "previous_reward_model": read_manifest(inputs.previous_reward_model).digest,
    }


def _earlier(folder: Path | None, own: pa.Table) -> pa.Table:
    """Read an earlier evaluation's generations: the same prompts and seeds."""
    if folder is None:
        return own
    path = tables.GENERATIONS.path(folder)
    earlier = tables.read(path, tables.GENERATIONS)
    joins.same_keys(own, earlier, tables.GENERATIONS, path)
    return earlier


def _rm_scores(inputs: EvalInputs, own: pa.Table, held_out: list[pa.Table]) -> pa.Table:
    parts = [own_pairs(own), *held_out]
    columns = list(tables.RM_SCORES.columns)
    full = [part.select(columns).cast(tables.RM_SCORES.schema) for part in parts if len(part)]
    return pa.concat_tables(full) if full else tables.RM_SCORES.schema.empty_table()


def _gold_pair_scores(
    inputs: EvalInputs, held_out: pa.Table, scorer: Scorer, tokens: Tokens, name: str
) -> list[pa.Table]:
    """Score the held-out gold pairs under r_t; r_0's scores are read from its own evaluation."""
    ids = held_out["prompt_id"].to_pylist()
    sides = [held_out[name].to_pylist() for name in ("chosen", "rejected")]
    asked = shards.together(ids, sides, held_out, Path("the gold pairs"))
    scored = shards.score_all(scorer, inputs.reward_model, asked, tokens, name)
    rewards = shards.spread(scored, ids, 2)
    own = gold_pair_scores(held_out, "rt", rewards)
    if inputs.base_eval is None:
        return [own, gold_pair_scores(held_out, "r0", rewards)]
    earlier = tables.read(tables.RM_SCORES.path(inputs.base_eval), tables.RM_SCORES)
    of_base = pc.and_(
        pc.equal(earlier["set"], "gold_pairs"), pc.equal(earlier["reward_model"], "r0")
    )
    return [own, earlier.filter(of_base).replace_schema_metadata()]
