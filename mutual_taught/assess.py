"""Evaluation with models: answers to the held-out prompts, scores under r_t and r_0."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mutual_taught import engines, evaluation, files, scoring, tables
from mutual_taught.blocks import Engine, Eval, Score, Tokens
from mutual_taught.sampling import draw, make_plan


class Inputs(NamedTuple):
    """Models and earlier evaluations; None at iteration 0, which is compared with itself."""

    policy: Path
    reward_model: Path
    base_reward_model: Path
    base_eval: Path | None
    previous_eval: Path | None


def assess(
    inputs: Inputs, prompts: pa.Table, out: Path, settings: Eval, engine: Engine, score: Score,
    tokens: Tokens, seed: int,
) -> None:  # fmt: skip
    """Answer, score, judge, measure; write `eval/` and `metrics/eval.json`."""
    own = _generations(inputs, prompts, out, settings, engine, score, tokens, seed)
    systems = evaluation.Systems(
        own, _earlier(inputs.base_eval, own), _earlier(inputs.previous_eval, own)
    )
    judgements = evaluation.judge(systems)
    made_from = {"reward_model": files.read_manifest(inputs.reward_model).digest}
    tables.write(out / "eval", tables.JUDGEMENTS, judgements, made_from)
    scores = _rm_scores(inputs, own, settings, score, tokens)
    tables.write(out / "eval", tables.RM_SCORES, scores, made_from, active=len(scores) > 0)
    metrics = {
        "active": 1.0,
        **evaluation.policy_metrics(systems, judgements, seed),
        **evaluation.reward_model_metrics(scores, seed),
    }
    files.write_metrics(out / "metrics" / "eval.json", metrics)
    outputs = evaluation.model_outputs(own, prompts, f"mutual-taught-{out.name}")
    files.write_json(out / "eval" / "model_outputs.json", outputs)


def _generations(
    inputs: Inputs, prompts: pa.Table, out: Path, settings: Eval, engine: Engine, score: Score,
    tokens: Tokens, seed: int,
) -> pa.Table:  # fmt: skip
    count = settings.responses_per_prompt
    plan = make_plan("eval", 0, seed, count, settings, engine, tokens)
    with engines.start(engine) as running:
        drawn, made_from = draw(inputs.policy, prompts, plan, running, f"eval@{out.name}")
    drawn = evaluation.add_gold(drawn.sort_by(
        [("prompt_id", "ascending"), ("response_index", "ascending")]), prompts)  # fmt: skip
    texts = drawn["response"].to_pylist()
    asked = tables.align(prompts, drawn["prompt_id"].to_pylist()[::count], Path("the eval split"))[
        "messages"
    ].to_pylist()
    grouped = [texts[start : start + count] for start in range(0, len(texts), count)]
    for name, model in _models(inputs).items():
        rewards = scoring.score_texts(model, asked, grouped, score, tokens)
        drawn = drawn.append_column(f"reward_{name}", pa.array(np.concatenate(rewards)))
    if "reward_r0" not in drawn.column_names:
        drawn = drawn.append_column("reward_r0", drawn["reward_rt"])
    path = tables.write(out / "eval", tables.GENERATIONS, drawn, made_from)
    return tables.read(path, tables.GENERATIONS)


def _models(inputs: Inputs) -> dict[str, Path]:
    """Name the reward models to score with; one is enough while r_t is r_0."""
    if inputs.reward_model == inputs.base_reward_model:
        return {"rt": inputs.reward_model}
    return {"rt": inputs.reward_model, "r0": inputs.base_reward_model}


def _earlier(folder: Path | None, own: pa.Table) -> pa.Table:
    """Read an earlier evaluation's generations: the same prompts and seeds."""
    if folder is None:
        return own
    path = folder / "generations.parquet"
    earlier = tables.read(path, tables.GENERATIONS)
    tables.same_keys(own, earlier, tables.GENERATIONS, path)
    return earlier


def _rm_scores(
    inputs: Inputs, own: pa.Table, settings: Eval, score: Score, tokens: Tokens
) -> pa.Table:
    parts = [evaluation.own_pairs(own)]
    if settings.gold_pairs is not None:
        parts += _gold_pair_scores(inputs, Path(settings.gold_pairs), score, tokens)
    columns = list(tables.RM_SCORES.columns)
    full = [part.select(columns).cast(tables.RM_SCORES.schema) for part in parts if len(part)]
    return pa.concat_tables(full) if full else tables.RM_SCORES.schema.empty_table()


def _gold_pair_scores(inputs: Inputs, path: Path, score: Score, tokens: Tokens) -> list[pa.Table]:
    """Score the held-out gold pairs under r_t; r_0's scores are read from its own evaluation."""
    pairs = tables.read(path, tables.GOLD_PAIRS)
    held_out = pairs.filter(pc.equal(pairs["part"], evaluation.HELD_OUT))
    sides = (held_out[name].to_pylist() for name in ("chosen", "rejected"))
    texts = [list(pair) for pair in zip(*sides, strict=True)]
    rewards = scoring.score_texts(
        inputs.reward_model, held_out["messages"].to_pylist(), texts, score, tokens
    )
    own = evaluation.gold_pair_scores(held_out, "rt", rewards)
    if inputs.base_eval is None:
        return [own, evaluation.gold_pair_scores(held_out, "r0", rewards)]
    earlier = tables.read(inputs.base_eval / "rm_scores.parquet", tables.RM_SCORES)
    of_base = pc.and_(
        pc.equal(earlier["set"], "gold_pairs"), pc.equal(earlier["reward_model"], "r0")
    )
    return [own, earlier.filter(of_base).replace_schema_metadata()]
