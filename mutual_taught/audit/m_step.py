"""Whether the M-step follows from its answers and rewards: pseudo pairs, and the mix."""

import pyarrow as pa

from mutual_taught.artifacts import files, tables
from mutual_taught.audit import answer_tables, faults
from mutual_taught.audit.faults import Fault, Faults
from mutual_taught.audit.run import Iteration
from mutual_taught.evaluation import describe
from mutual_taught.steps import build_pairs


def answers(of: Iteration) -> Faults:
    """The reward prompts were answered once each, with the seeds they should have."""
    if not of.active:
        return
    path, data = of.path(tables.ANSWERS), of.table(tables.ANSWERS)
    yield from answer_tables.asked(path, data["prompt_id"], of.run.split("reward"))
    yield from answer_tables.drawn(path, tables.ANSWERS, data)
    yield from answer_tables.seeds(path, tables.ANSWERS, data, of.settings, "answer", of.t)
    if of.t:
        metrics = of.metrics("answer")
        yield from faults.numbers(metrics, files.read_json(metrics), describe.answers(data))


def pairs(of: Iteration) -> Faults:
    """Pseudo pairs, their tolerance and the mix are what the rule makes of the answers."""
    if not of.active:
        return
    rewards, own = of.table(tables.ANSWER_REWARDS), of.table(tables.ANSWERS)
    path = of.path(tables.ANSWER_REWARDS)
    yield from answer_tables.reasons(path, tables.ANSWER_REWARDS, rewards)
    before = of.previous_table(tables.ANSWERS)
    rule = of.settings.build_pairs.filter
    expected, epsilon = build_pairs.pseudo_pairs(own, before, rewards, rule)
    path, found = of.path(tables.PSEUDO_PAIRS), of.table(tables.PSEUDO_PAIRS)
    yield from faults.compare(path, tables.PSEUDO_PAIRS, found, expected)
    said = tables.provenance(found)["tolerance"]
    if said != epsilon:
        yield Fault(path, "tolerance", str(said), str(epsilon))
    yield from _mixed(of, expected, epsilon)


def _mixed(of: Iteration, pseudo: pa.Table, epsilon: float | None) -> Faults:
    """The mix is of this iteration's pairs, and of those that are carried on."""
    mix = build_pairs.combine(
        of.table(tables.RANKED_PAIRS),
        of.table(tables.RESPONSES),
        pseudo,
        of.previous_table(tables.REWARD_PAIRS),
        of.t,
        of.settings.build_pairs,
    )
    mix = tables.REWARD_PAIRS.sorted(mix)
    path, found = of.path(tables.REWARD_PAIRS), of.table(tables.REWARD_PAIRS)
    yield from faults.compare(path, tables.REWARD_PAIRS, found, mix)
    metrics, right = of.metrics("build_pairs"), build_pairs.metrics(pseudo, epsilon, mix)
    yield from faults.numbers(metrics, files.read_json(metrics), right)
