"""Whether the M-step follows from its answers and rewards: pseudo pairs, and the mix."""

import pyarrow as pa

from mutual_taught.artifacts import files, joins, tables
from mutual_taught.audit import faults, provenance, response_tables
from mutual_taught.audit.faults import Fault, Faults
from mutual_taught.audit.run import CheckedIteration
from mutual_taught.evaluation import describe, gold_tables
from mutual_taught.method.calibration import Calibration
from mutual_taught.steps import build_pairs, weights


def answers(of: CheckedIteration) -> Faults:
    """Both policies answered the reward prompts once each, with the seeds they should have."""
    if of.began:
        yield from _previous(of)
        yield from _drawn(
            of,
            tables.PREVIOUS_ANSWERS,
            "answer_previous",
            provenance.previous_draw(of.key, of.settings),
        )
    if of.active and of.t:
        yield from _drawn(of, tables.ANSWERS, "answer", ("answer", of.t))


def _previous(of: CheckedIteration) -> Faults:
    """Previous answers that are reused are those of iteration t - 1."""
    own, stored = of.path(tables.PREVIOUS_ANSWERS), tables.ANSWERS.path(of.before)
    digests = of.run.digest(own, tables.PREVIOUS_ANSWERS), of.run.digest(stored, tables.ANSWERS)
    if provenance.reuses(of.key, of.settings) and digests[0] != digests[1]:
        yield Fault(own, "the table", "another", f"a copy of {stored}")


def _drawn(of: CheckedIteration, table: tables.Table, stage: str, drew: tuple[str, int]) -> Faults:
    """Answers are to the reward prompts; `drew` is the stage, and its t, whose seeds they have."""
    path, data = of.path(table), of.table(table)
    yield from response_tables.asked(path, data["prompt_id"], of.run.split("reward"))
    longest = of.settings.answer.max_new_tokens
    yield from response_tables.drawn(path, table, data, of.run.reader, longest)
    yield from response_tables.seeds(of, table, data, drew)
    actual = files.read_json(of.metrics(stage))
    if stage == "answer" and provenance.reuses(of.key, of.settings):
        actual.pop("previous_shift", None)  # r_0's rewards are in no table: it needs the models
    yield from faults.numbers(of.metrics(stage), actual, describe.responses(data))


def pairs(of: CheckedIteration) -> Faults:
    """Pseudo pairs, their tolerance and the mix are what the rule makes of the answers."""
    if not of.active:
        return
    rewards, own = of.table(tables.ANSWER_REWARDS), of.table(tables.ANSWERS)
    path = of.path(tables.ANSWER_REWARDS)
    joins.same_keys(own, rewards, tables.ANSWER_REWARDS, path)
    yield from response_tables.reasons(path, tables.ANSWER_REWARDS, rewards)
    before, prompts = of.table(tables.PREVIOUS_ANSWERS), of.run.split("reward")
    for side, answered in (("", own), ("previous_", before)):
        asked = response_tables.asked_with(answered, prompts, path)
        yield from response_tables.unscored(of, tables.ANSWER_REWARDS, rewards, asked, side)
    rule, golds = of.settings.build_pairs, None
    if rule.labels == "verifiable":
        place = of.run.split_file("reward")[0]
        golds = gold_tables.of_both(build_pairs.both(own, before), prompts, place)
    expected, epsilon = build_pairs.pseudo_pairs(own, before, rewards, rule.filter, golds)
    path, actual = of.path(tables.PSEUDO_PAIRS), of.table(tables.PSEUDO_PAIRS)
    yield from faults.compare(path, tables.PSEUDO_PAIRS, actual, expected)
    stated = tables.provenance(actual)["tolerance"]
    if stated != epsilon:
        yield Fault(path, "tolerance", str(stated), str(epsilon))
    yield from _mixed(of, expected, epsilon)


def _mixed(of: CheckedIteration, pseudo: pa.Table, epsilon: float | None) -> Faults:
    """The mix is of this iteration's pairs, and of those that are carried on."""
    sources = build_pairs.Sources(
        of.table(tables.RANKED_PAIRS),
        of.table(tables.RESPONSES),
        pseudo,
        of.previous_table(tables.REWARD_PAIRS),
        of.run.table(*of.run.seed_pairs()),
        _calibration(of),
    )
    mix = build_pairs.combine(sources, of.t, of.settings.build_pairs, of.settings.seed)
    mix = tables.REWARD_PAIRS.sorted(mix)
    path, actual = of.path(tables.REWARD_PAIRS), of.table(tables.REWARD_PAIRS)
    yield from faults.compare(path, tables.REWARD_PAIRS, actual, mix)
    fitted = None if sources.calibration is None else sources.calibration._asdict()
    stated = tables.provenance(actual).get("calibration")
    if stated != fitted:
        yield Fault(path, "calibration", str(stated), str(fitted))
    metrics = of.metrics("build_pairs")
    expected = build_pairs.metrics(pseudo, epsilon, mix, sources.calibration)
    yield from faults.numbers(metrics, files.read_json(metrics), expected)


def _calibration(of: CheckedIteration) -> Calibration | None:
    """Fit again how right pseudo labels are, where pairs count by it."""
    if of.settings.build_pairs.weights == "none":
        return None
    prompts, place = of.run.split("selection"), of.run.split_file("selection")[0]
    return weights.calibrate(of.table(tables.DUELS), prompts, place)
