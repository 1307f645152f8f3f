"""Whether an evaluation follows from its responses, its scores and the runs before it."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mutual_taught.artifacts import files, tables
from mutual_taught.audit import faults, response_tables
from mutual_taught.audit.faults import Fault, Faults
from mutual_taught.audit.run import CheckedIteration
from mutual_taught.evaluation.judge import (
    MODELS,
    Systems,
    add_gold,
    gold_pair_scores,
    judge,
    model_outputs,
    own_pairs,
)
from mutual_taught.evaluation.metrics import policy_metrics
from mutual_taught.evaluation.reward_metrics import reward_model_metrics

OUTPUTS = "model_outputs.json"
REWARDS = ("reward_chosen", "reward_rejected")


def check(of: CheckedIteration) -> Faults:
    """Recompute gold, judgements, own pairs and metrics; a stopped iteration's are copies."""
    if not of.active:
        yield from _copied(of)
        return
    yield from _generations(of)
    yield from _judged(of)
    yield from _gold_pairs(of)
    yield from _own_pairs(of)
    yield from _measured(of)


def _copied(of: CheckedIteration) -> Faults:
    """A stopped iteration's evaluation is the previous one's, with `active` 0."""
    actual, expected = (files.read_json(at / "eval" / OUTPUTS, list) for at in (of.here, of.before))
    if actual != expected:
        yield Fault(of.here / "eval" / OUTPUTS, "the file", "another", f"that of {of.previous}")
    copied = files.read_json(of._replace(key=of.previous).metrics("eval"))
    metrics = of.metrics("eval")
    yield from faults.numbers(metrics, files.read_json(metrics), {**copied, "active": 0.0})


def _systems(of: CheckedIteration) -> Systems:
    base = of._replace(key="0").table(tables.GENERATIONS)
    return Systems(of.table(tables.GENERATIONS), base, of.previous_table(tables.GENERATIONS))


def _generations(of: CheckedIteration) -> Faults:
    """The eval prompts were answered with iteration 0's seeds; gold and outputs follow."""
    path, own = of.path(tables.GENERATIONS), of.table(tables.GENERATIONS)
    prompts, longest = of.run.split("eval"), of.settings.eval.max_new_tokens
    yield from response_tables.drawn(path, tables.GENERATIONS, own, of.run.reader, longest)
    yield from response_tables.seeds(of, tables.GENERATIONS, own, ("eval", 0))
    yield from response_tables.asked(path, own["prompt_id"], prompts)
    yield from _without_rewards(of, own)
    yield from _as_base(of, own)
    graded = own.drop_columns(["gold", "passed", "length_chars"])
    yield from faults.compare(path, tables.GENERATIONS, own, add_gold(graded, prompts))
    outputs = of.here / "eval" / OUTPUTS
    if files.read_json(outputs, list) != model_outputs(own, prompts, f"mutual-taught-{of.key}"):
        yield Fault(outputs, "the file", "another", "the first answers of generations")


def _without_rewards(of: CheckedIteration, own: pa.Table) -> Faults:
    """A response has all rewards, or the reason why it has none."""
    path = of.path(tables.GENERATIONS)
    unscored = own["reward_rt"].is_null().to_numpy()
    others = ("reward_r0", "reward_previous")
    fits = {
        **{name: unscored == own[name].is_null().to_numpy() for name in others},
        "reason": response_tables.explained(own["reason"], unscored),
    }
    for name, agrees in fits.items():
        expected = "what goes with reward_rt"
        yield from faults.first(path, tables.GENERATIONS, own, name, ~agrees, expected)
    asked = response_tables.asked_with(own, of.run.split("eval"), path)
    yield from response_tables.unscored(of, tables.GENERATIONS, own, asked)


def _as_base(of: CheckedIteration, own: pa.Table) -> Faults:
    """At t = 1 r_{t-1} is r_0. At t = 0 every model is its own base."""
    same = {} if of.t > 1 else {"reward_previous": "reward_r0"}
    same |= {} if of.t else {"reward_rt": "reward_r0", "base_logprob": "logprob"}
    for name, other in same.items():
        expected = own.select([other]).rename_columns([name])
        yield from faults.compare(of.path(tables.GENERATIONS), tables.GENERATIONS, own, expected)


def _judged(of: CheckedIteration) -> Faults:
    """Judgements are of these responses against those of iteration 0 and of the one before."""
    path, judgements = of.path(tables.JUDGEMENTS), of.table(tables.JUDGEMENTS)
    expected = tables.JUDGEMENTS.sorted(judge(_systems(of)))
    yield from faults.compare(path, tables.JUDGEMENTS, judgements, expected)


def _measured(of: CheckedIteration) -> Faults:
    """The numbers are those of the responses, the judgements and the scores of pairs."""
    metrics, seed = of.metrics("eval"), of.settings.seed
    expected = {
        "active": 1.0,
        **policy_metrics(_systems(of), of.table(tables.JUDGEMENTS), seed),
        **reward_model_metrics(of.table(tables.RM_SCORES), seed),
    }
    yield from faults.numbers(metrics, files.read_json(metrics), expected)


def _own_pairs(of: CheckedIteration) -> Faults:
    """The pairs of own responses are those whose gold differs, with these responses' rewards."""
    scores = of.table(tables.RM_SCORES)
    actual = scores.filter(pc.equal(scores["set"], "own_samples"))
    own = own_pairs(of.table(tables.GENERATIONS))
    if len(own):
        expected = tables.RM_SCORES.sorted(own)
        yield from faults.compare(of.path(tables.RM_SCORES), tables.RM_SCORES, actual, expected)


def _gold_pairs(of: CheckedIteration) -> Faults:
    """The gold pairs scored are those held out, and r_0's scores are those of iteration 0."""
    held_out = of.held_out()
    path, scores = of.path(tables.RM_SCORES), of.table(tables.RM_SCORES)
    gold = scores.filter(pc.equal(scores["set"], "gold_pairs"))
    nothing = np.zeros((len(held_out), 2))
    expected = pa.concat_tables(gold_pair_scores(held_out, model, nothing) for model in MODELS)
    described = tables.RM_SCORES.sorted(expected.drop_columns(list(REWARDS)))
    yield from faults.compare(path, tables.RM_SCORES, gold, described)
    base = of._replace(key="0").table(tables.RM_SCORES)
    yield from _same_rewards(path, gold, "r0", base)
    if not of.t:  # r_t is r_0
        yield from _same_rewards(path, gold, "rt", base)


def _same_rewards(path: Path, gold: pa.Table, model: str, base: pa.Table) -> Faults:
    """A model's scores of the gold pairs are those of r_0 in another evaluation."""
    actual = gold.filter(pc.equal(gold["reward_model"], model))
    of_base = pc.and_(pc.equal(base["set"], "gold_pairs"), pc.equal(base["reward_model"], "r0"))
    expected = base.filter(of_base).select(list(REWARDS))
    yield from faults.compare(path, tables.RM_SCORES, actual, expected)
