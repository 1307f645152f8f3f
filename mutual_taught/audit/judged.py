"""Whether a judge's numbers follow from its stored verdicts; it is never asked again."""

from collections import defaultdict

from mutual_taught.artifacts import files, tables
from mutual_taught.audit import faults, provenance
from mutual_taught.audit.faults import Fault, Faults
from mutual_taught.audit.run import CheckedIteration
from mutual_taught.evaluation.judges import verdict_tables
from mutual_taught.evaluation.judges.reply import Reply
from mutual_taught.steps import judge

NOTHING = Reply("", None, 0, 0)


def check(of: CheckedIteration) -> Faults:
    """Verdicts are of these responses, read as their style reads them, and the numbers follow."""
    if of.key not in of.settings.judge.iterations:
        return
    path, data = of.path(tables.VERDICTS), of.table(tables.VERDICTS)
    metrics, expected = of.metrics("judge"), {"active": float(of.active)}
    if of.active:
        judging, asked = judge.spec(of.settings.judge), _asked(of)
        pairs = judge.compared(asked, of.settings.judge.responses_per_prompt)
        stored, refused = verdict_tables.read_again(data)
        replies = defaultdict(lambda: NOTHING, stored)
        found = verdict_tables.verdicts(judging, pairs, replies, refused)
        yield from faults.compare(path, tables.VERDICTS, data, found)
        made = judge.made_from(asked, judging)
        yield from provenance.agrees(path, tables.provenance(data), made)
        seed = of.settings.seed
        expected |= verdict_tables.metrics(data, judging, seed, judge.PREFIX)
    elif len(data):
        yield Fault(path, "rows", str(len(data)), "none: the iteration is stopped")
    yield from faults.numbers(metrics, files.read_json(metrics), expected)


def _asked(of: CheckedIteration) -> judge.JudgeInputs:
    responses = {
        "policy": of.table(tables.GENERATIONS),
        "base": of._replace(key="0").table(tables.GENERATIONS),
        "previous": of.previous_table(tables.GENERATIONS),
    }
    return judge.JudgeInputs(responses, of.run.split("eval"), of.run.split_file("eval")[0])
