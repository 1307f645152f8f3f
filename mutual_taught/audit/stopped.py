"""Whether a stopped run did nothing more, and carried on what it had."""

from mutual_taught.artifacts import files, tables
from mutual_taught.audit import faults, provenance
from mutual_taught.audit.faults import Fault, Faults
from mutual_taught.audit.run import EVAL, CheckedIteration
from mutual_taught.config import learning, params

SAMPLING = ("answer_previous", "sample", "score", "rank_pairs", "dpo")
BEGUN = ("previous_answers", "responses", "rewards", "ranked_pairs", "duels")
LEARNT = ("answers", "answer_rewards", "pseudo_pairs", "reward_pairs")
LEARNING = ("answer", "build_pairs", "train_rm")


def empty(of: CheckedIteration) -> Faults:
    """Tables are empty, and say so, exactly where the iteration was stopped."""
    active, began = of.active, of.began
    trains = of.t > 0 and active and not params.load(learning.TrainRm, of.key).fixed
    expected = {
        **dict.fromkeys(BEGUN, began),
        **dict.fromkeys(LEARNT, active and of.t > 0),
        "reward_training": trains,
        "generations": True,
        "judgements": True,
    }
    for path, table in of.run.listed(of.key):
        data = of.run.table(path, table)
        filled = expected.get(table.name, len(data) > 0)
        if tables.is_active(data) != filled or (len(data) > 0) != filled:
            state = f"{len(data)} rows, active {str(tables.is_active(data)).lower()}"
            wanted = "rows" if filled else "none: the iteration was stopped, or has none of these"
            yield Fault(path, "the table", state, wanted)


def carried_on(of: CheckedIteration) -> Faults:
    """What a stopped iteration carries on is the previous one's, and its stages did nothing."""
    if of.active:
        return
    folder, before = (place / "reward_model" for place in (of.here, of.before))
    yield from provenance.same_model(folder, before, "the reward model")
    for table in EVAL:
        own, source = of.path(table), of._replace(key=of.previous).path(table)
        if of.run.digest(own, table) != of.run.digest(source, table):
            yield Fault(own, "the table", "another", f"a copy of {source}")
    for stage in LEARNING if of.began else (*SAMPLING, *LEARNING):
        path = of.metrics(stage)
        yield from faults.numbers(path, files.read_json(path), {"active": 0.0})
