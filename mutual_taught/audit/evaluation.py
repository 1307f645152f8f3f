"""Whether an evaluation follows from its answers, its scores and the runs before it."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mutual_taught.artifacts import decision, files, tables
from mutual_taught.audit import faults
from mutual_taught.audit.answer_tables import asked, drawn, said, seeds, split
from mutual_taught.audit.faults import Fault, Faults, Run
from mutual_taught.config import blocks
from mutual_taught.evaluation import metrics as evaluation
from mutual_taught.evaluation.judge import (
    HELD_OUT,
    MODELS,
    Systems,
    add_gold,
    gold_pair_scores,
    judge,
    model_outputs,
    own_pairs,
)

OUTPUTS = "model_outputs.json"


def check(run: Run, key: str, settings: blocks.Params) -> Faults:
    """Recompute gold, judgements, own pairs and metrics; a stopped iteration's are copies."""
    folder = run.folder / key / "eval"
    metrics = run.folder / key / "metrics" / "eval.json"
    previous = settings.iterations[key].prev if key != "0" else "0"
    if not decision.read(run.folder / key / "decision.json").active:
        outputs = (run.folder / place / "eval" / OUTPUTS for place in (key, previous))
        mine, theirs = (files.read_json(path, list) for path in outputs)
        if mine != theirs:
            yield Fault(folder / OUTPUTS, "the file", "another", f"that of {previous}")
        copied = files.read_json(run.folder / previous / "metrics" / "eval.json")
        yield from faults.numbers(metrics, files.read_json(metrics), {**copied, "active": 0.0})
        return
    path = folder / "generations.parquet"
    own = run.table(path, tables.GENERATIONS)
    yield from drawn(path, tables.GENERATIONS, own)
    yield from seeds(path, tables.GENERATIONS, own, settings, "eval", 0)
    prompts = split(run, "eval")
    yield from asked(path, own["prompt_id"], prompts)
    unscored = own["reward_rt"].is_null().to_numpy()
    right = {
        "reward_r0": unscored == own["reward_r0"].is_null().to_numpy(),
        "reason": said(own["reason"], unscored),
    }
    for name, agrees in right.items():
        yield from faults.first(
            path, tables.GENERATIONS, own, name, ~agrees, "what goes with reward_rt"
        )
    graded = own.drop_columns(["gold", "passed", "length_chars"])
    yield from faults.compare(path, tables.GENERATIONS, own, add_gold(graded, prompts))
    generator = f"mutual-taught-{key}"
    if files.read_json(folder / OUTPUTS, list) != model_outputs(own, prompts, generator):
        yield Fault(folder / OUTPUTS, "the file", "another", "the first answers of generations")
    systems = Systems(
        own,
        *(
            run.table(run.folder / place / "eval" / "generations.parquet", tables.GENERATIONS)
            for place in ("0", previous)
        ),
    )
    judged = folder / "judgements.parquet"
    judgements = run.table(judged, tables.JUDGEMENTS)
    expected = judge(systems)
    by_key = [(name, "ascending") for name in tables.JUDGEMENTS.keys]
    yield from faults.compare(judged, tables.JUDGEMENTS, judgements, expected.sort_by(by_key))
    path = folder / "rm_scores.parquet"
    scores = run.table(path, tables.RM_SCORES)
    yield from _gold_pairs(run, key, path, scores, settings)
    mine = own_pairs(own)
    if len(mine):
        by_key = [(name, "ascending") for name in tables.RM_SCORES.keys]
        of_own = scores.filter(pc.equal(scores["set"], "own_samples"))
        yield from faults.compare(path, tables.RM_SCORES, of_own, mine.sort_by(by_key))
    yield from faults.numbers(
        metrics,
        files.read_json(metrics),
        {
            "active": 1.0,
            **evaluation.policy_metrics(systems, judgements, settings.seed),
            **evaluation.reward_model_metrics(scores, settings.seed),
        },
    )


def _gold_pairs(
    run: Run, key: str, path: Path, scores: pa.Table, settings: blocks.Params
) -> Faults:
    """The gold pairs scored are those held out, and r_0's scores are those of iteration 0."""
    if settings.eval.gold_pairs is None:
        return
    pairs = tables.read(Path(settings.eval.gold_pairs), tables.GOLD_PAIRS)
    held_out = pairs.filter(pc.equal(pairs["part"], HELD_OUT))
    gold = scores.filter(pc.equal(scores["set"], "gold_pairs"))
    by_key = [(name, "ascending") for name in tables.RM_SCORES.keys]
    expected = pa.concat_tables(
        gold_pair_scores(held_out, model, np.zeros((len(held_out), 2))) for model in MODELS
    ).sort_by(by_key)
    described = [name for name in expected.column_names if not name.startswith("reward_chosen")]
    described.remove("reward_rejected")
    yield from faults.compare(path, tables.RM_SCORES, gold, expected.select(described))
    base = run.table(run.folder / "0" / "eval" / "rm_scores.parquet", tables.RM_SCORES)
    for model, other, source in (("r0", "r0", base), ("rt", "r0", scores)):
        if model == "rt" and key != "0":
            continue
        of_set = source.filter(pc.equal(source["set"], "gold_pairs"))
        mine = gold.filter(pc.equal(gold["reward_model"], model))
        right = of_set.filter(pc.equal(of_set["reward_model"], other))
        rewards = right.select(["reward_chosen", "reward_rejected"])
        yield from faults.compare(path, tables.RM_SCORES, mine, rewards)
