"""The M-step on tables: pseudo-labelled pairs, their filter, and the mix r_t is trained on."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mutual_taught.artifacts import files, joins, tables
from mutual_taught.artifacts.joins import counts, sides
from mutual_taught.artifacts.texts import is_blank
from mutual_taught.config.blocks import BuildPairs
from mutual_taught.errors import InputError
from mutual_taught.evaluation import gold_tables
from mutual_taught.keys import pair_ids, sampling_seeds
from mutual_taught.method.calibration import Calibration
from mutual_taught.method.pseudo_pairs import (
    Accumulated,
    FilterRule,
    carried,
    drawn_seeds,
    filter_pseudo_pairs,
    labels_by_gold,
    tolerance,
)
from mutual_taught.steps import weights

PAIR = ["prompt_id", "chosen", "rejected"]
SEED = "seed"  # the kind of r_0's own training pairs
SIDES = np.array(["", "response", "previous_response"])  # chosen by label: 0, 1, -1


class PairInputs(NamedTuple):
    """The tables build_pairs reads, as paths."""

    answers: Path
    previous_answers: Path
    answer_rewards: Path
    ranked_pairs: Path
    responses: Path
    previous_pairs: Path
    prompts: Path
    seed_pairs: Path
    duels: Path
    selection: Path


class Sources(NamedTuple):
    """The tables a mix is made of: `seed_pairs` are r_0's, `earlier` is the mix of t - 1.

    `calibration` is there where pseudo pairs count by how likely their label is right.
    """

    ranked: pa.Table
    responses: pa.Table
    pseudo: pa.Table
    earlier: pa.Table
    seed_pairs: pa.Table
    calibration: Calibration | None = None


def build(inputs: PairInputs, iteration: int, settings: BuildPairs, seed: int, out: Path) -> None:
    """Read the tables, decide, and write `pseudo_pairs`, `reward_pairs` and the metrics."""
    answers = tables.read(inputs.answers, tables.ANSWERS)
    previous = tables.read(inputs.previous_answers, tables.PREVIOUS_ANSWERS)
    rewards = tables.read(inputs.answer_rewards, tables.ANSWER_REWARDS)
    joins.same_keys(answers, previous, tables.PREVIOUS_ANSWERS, inputs.previous_answers)
    joins.same_keys(answers, rewards, tables.ANSWER_REWARDS, inputs.answer_rewards)
    made_from = tables.digests(answers=answers, previous_answers=previous, answer_rewards=rewards)
    golds = None
    if settings.labels == "verifiable":
        prompts = tables.read(inputs.prompts, tables.PROMPTS)
        gold_tables.require_verifiable(prompts, "reward", "build_pairs.labels is verifiable")
        golds = gold_tables.of_both(both(answers, previous), prompts, inputs.prompts)
        made_from["instructions"] = tables.rows_digest(prompts.select(gold_tables.INSTRUCTIONS))
    pseudo, epsilon = pseudo_pairs(answers, previous, rewards, settings.filter, golds)
    decided = {"filter": settings.filter, "tolerance": epsilon, **settings.labelling()}
    tables.write(out, tables.PSEUDO_PAIRS, pseudo, {**made_from, **decided})
    sources, mixed_from = _sources(inputs, pseudo, settings, seed)
    pairs = combine(sources, iteration, settings, seed)
    mixed_from = {**made_from, **mixed_from, **settings.decides()}
    tables.write(out, tables.REWARD_PAIRS, pairs, mixed_from)
    told = metrics(pseudo, epsilon, pairs, sources.calibration)
    files.write_metrics(out / "metrics" / "build_pairs.json", told)


def _sources(
    inputs: PairInputs, pseudo: pa.Table, settings: BuildPairs, seed: int
) -> tuple[Sources, dict[str, object]]:
    """Read what else the mix is made of; and say so, as far as the settings take it."""
    ranked = tables.read(inputs.ranked_pairs, tables.RANKED_PAIRS)
    responses = tables.read(inputs.responses, tables.RESPONSES)
    earlier = tables.read(inputs.previous_pairs, tables.REWARD_PAIRS)
    seed_pairs = tables.read(inputs.seed_pairs, tables.SEED_PAIRS)
    made_from: dict[str, object] = {**tables.digests(ranked_pairs=ranked, responses=responses)}
    if settings.accumulate != "none":
        made_from |= tables.digests(previous_pairs=earlier)
    if settings.seed_preferences:
        made_from |= {**tables.digests(seed_pairs=seed_pairs), "seed": seed}
    calibration = None
    if settings.weights == "calibrated":
        calibration, fitted_on = weights.read(inputs.duels, inputs.selection)
        made_from |= fitted_on
    return Sources(ranked, responses, pseudo, earlier, seed_pairs, calibration), made_from


def combine(sources: Sources, iteration: int, settings: BuildPairs, seed: int) -> pa.Table:
    """Mix what the settings ask for: see `mix`."""
    fresh = {}
    if settings.ranked:
        fresh["ranked"] = kept_ranked(sources.ranked, sources.responses)
    if settings.pseudo:
        fresh["pseudo"] = kept_pseudo(sources.pseudo)
    if settings.seed_preferences:
        fresh[SEED] = seeds(sources.seed_pairs, iteration, settings.seed_preferences, seed)
    earlier = carry(sources.earlier, iteration, settings.accumulate)
    if sources.calibration is None:
        return mix(fresh, earlier, iteration)
    margins = sources.pseudo.filter(sources.pseudo["kept"])["reward_margin"].to_numpy()
    weighed = weights.weighed(fresh, margins, sources.calibration)
    return mix(weighed, weights.weigh(earlier), iteration)


def seeds(pairs: pa.Table, iteration: int, share: float, seed: int) -> pa.Table:
    """Draw a share of r_0's training pairs for the mix of t: `prompt_id`, `chosen`, `rejected`."""
    lots = sampling_seeds(
        seed, iteration, "build_pairs", pairs["prompt_id"], np.zeros(len(pairs), np.int64)
    )
    return pairs.select(PAIR).filter(pa.array(drawn_seeds(lots, share)))


def metrics(
    pseudo: pa.Table,
    epsilon: float | None,
    pairs: pa.Table,
    calibration: Calibration | None = None,
) -> dict[str, float | None]:
    """Describe the filter and the mix; what is over no scored answer is None."""
    margins = pseudo["reward_margin"].drop_null().to_numpy()
    by_gold = {}
    if "chosen" in pseudo.column_names:
        turned = pc.and_(pseudo["kept"], pc.equal(pseudo["chosen"], "previous_response"))
        by_gold = {"labelled_by_gold": 1.0, "kept_turned": float(pc.sum(turned).as_py())}
    replayed = float(pc.sum(pc.equal(pairs["kind"], SEED)).as_py())
    return {
        "active": 1.0,
        **by_gold,
        "tolerance": epsilon,
        **counts(pseudo["kept"], pseudo["reason"]),
        "reward_margin_mean": float(margins.mean()) if len(margins) else None,
        "pairs": float(len(pairs)),
        "pairs_pseudo": float(pc.sum(pc.equal(pairs["kind"], "pseudo")).as_py()),
        "pairs_ranked": float(pc.sum(pc.equal(pairs["kind"], "ranked")).as_py()),
        **({"pairs_seed": replayed} if replayed else {}),
        **({} if calibration is None else weights.metrics(pairs, calibration)),
    }


def write_stopped(out: Path) -> None:
    """Write the empty tables of a stopped iteration."""
    tables.empty(out, tables.PSEUDO_PAIRS, tables.REWARD_PAIRS)
    files.write_metrics(out / "metrics" / "build_pairs.json", {"active": 0.0})


def carry(earlier: pa.Table, iteration: int, rule: Accumulated) -> pa.Table:
    """Keep the pairs of the mix of t - 1 that are in that of t: see `pseudo_pairs.carried`.

    Training pairs of r_0 are not carried on: every iteration draws its own.
    """
    kept = pa.array(carried(earlier["iteration"].to_numpy(), iteration, rule))
    return earlier.filter(pc.and_(kept, pc.not_equal(earlier["kind"], SEED)))


def both(answers: pa.Table, previous: pa.Table) -> pa.Table:
    """Lay pi_t's answers beside pi_{t-1}'s: `prompt_id`, `response` and `previous_response`."""
    own, before = (table["response"].combine_chunks() for table in (answers, previous))
    return pa.table([answers["prompt_id"], own, before], ["prompt_id", *SIDES[1:].tolist()])


def pseudo_pairs(
    answers: pa.Table,
    previous: pa.Table,
    rewards: pa.Table,
    rule: FilterRule,
    golds: gold_tables.Golds | None = None,
) -> tuple[pa.Table, float | None]:
    """Label pi_t's answer chosen and pi_{t-1}'s rejected, and drop what is confidently wrong.

    Args:
        answers: table `answers` of pi_t, sorted by prompt.
        previous: that of pi_{t-1}, the same prompts.
        rewards: table `answer_rewards`, the same prompts; a null is no reward.
        rule: the filter.
        golds: of both answers, by which the better one is labelled chosen instead; or None.

    Returns:
        Table `pseudo_pairs`, with gold and who is chosen where gold labels; and epsilon_t, which
        is over all of pi_{t-1}'s answers that have a reward, whether or not pi_t's has one; None if
        none has, and then there is no margin.
    """
    table = both(answers, previous)
    own, before = (table[name].combine_chunks() for name in SIDES[1:])
    reward = rewards["reward"].to_numpy()
    previous_reward = rewards["previous_reward"].to_numpy()
    labels = np.ones(len(table), np.int64) if golds is None else labels_by_gold(*golds)
    margins = np.where(labels < 0, previous_reward - reward, reward - previous_reward)
    scored = previous_reward[~np.isnan(previous_reward)]
    epsilon = tolerance(scored) if len(scored) else None
    blank = pc.or_(is_blank(own), is_blank(before)).to_numpy(zero_copy_only=False)
    same = pc.equal(own, before).to_numpy(zero_copy_only=False)
    reasons = filter_pseudo_pairs(margins, epsilon or 0.0, blank, same, rule, labels == 0)
    columns: dict[str, object] = {
        "reward": tables.numbers(reward),
        "previous_reward": tables.numbers(previous_reward),
        "reward_margin": tables.numbers(np.where(labels == 0, np.nan, margins)),
        "kept": [not reason for reason in reasons],
        "reason": pa.array(reasons, tables.TEXT),
    }
    if golds is not None:
        columns |= {"gold": golds.own, "previous_gold": golds.previous, "chosen": SIDES[labels]}
    return pa.table({**{name: table[name] for name in table.column_names}, **columns}), epsilon


def mix(fresh: Mapping[str, pa.Table], earlier: pa.Table, iteration: int) -> pa.Table:
    """Put together the pairs r_t is trained on.

    Args:
        fresh: `prompt_id`, `chosen`, `rejected` of this iteration's pairs by kind: the E-step's
            `ranked`, the M-step's `pseudo`, and `seed`. All have a `weight`, or none.
        earlier: table `reward_pairs` to carry on; no rows unless pairs accumulate.
        iteration: t.

    Returns:
        Table `reward_pairs`.

    Raises:
        InputError: there is no pair.

    Source: Mutual-Taught, M-step (comparison pairs mixed with RM-ranked pairs).
    """
    if not len(earlier) and not any(map(len, fresh.values())):
        raise InputError(
            f"iteration {iteration}: no pair is left for the reward model; expected at least one; "
            "see ranked_pairs and pseudo_pairs for the reasons, or loosen build_pairs.filter"
        )
    parts = [_named(kind, pairs, iteration) for kind, pairs in fresh.items()]
    names = [name for name in tables.REWARD_PAIRS.kinds if name in earlier.column_names]
    carried_on = earlier.select(names).replace_schema_metadata()
    return pa.concat_tables([*parts, carried_on.cast(tables.REWARD_PAIRS.schema_of(names))])


def _named(kind: str, pairs: pa.Table, iteration: int) -> pa.Table:
    """Lay out pairs of one kind as rows of `reward_pairs`."""
    prompts, chosen, rejected = (pairs[name].combine_chunks() for name in PAIR)
    weight = {"weight": pairs["weight"]} if "weight" in pairs.column_names else {}
    return pa.table(
        {
            "pair_id": pair_ids(kind, iteration, prompts, chosen, rejected),
            "kind": pa.repeat(kind, len(pairs)),
            "iteration": pa.repeat(iteration, len(pairs)),
            "prompt_id": prompts,
            "chosen": chosen,
            "rejected": rejected,
            **weight,
        },
        schema=tables.REWARD_PAIRS.schema_of([*tables.REWARD_PAIRS.columns, *weight]),
    )


def kept_ranked(ranked: pa.Table, responses: pa.Table) -> pa.Table:
    """List the E-step's kept pairs as texts: `prompt_id`, `chosen`, `rejected`."""
    chosen, rejected = sides(ranked, responses, "response", len(responses) // len(ranked))
    prompts = ranked.filter(ranked["kept"])["prompt_id"]
    return pa.table([prompts, chosen, rejected], PAIR)


def kept_pseudo(pseudo: pa.Table) -> pa.Table:
    """List the M-step's kept pairs as texts: `prompt_id`, `chosen`, `rejected`."""
    kept = pseudo.filter(pseudo["kept"])
    better, worse = kept["response"], kept["previous_response"]
    if "chosen" in kept.column_names:
        as_paper = pc.equal(kept["chosen"], "response")
        better, worse = pc.if_else(as_paper, better, worse), pc.if_else(as_paper, worse, better)
    return pa.table([kept["prompt_id"], better, worse], PAIR)
