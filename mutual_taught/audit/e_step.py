"""Whether the E-step follows from its responses and rewards: pairs, duels, the selection."""

import pyarrow as pa
import pyarrow.compute as pc

from mutual_taught.artifacts import decision, files, joins, tables
from mutual_taught.artifacts.manifests import STEP, read_steps
from mutual_taught.audit import faults, provenance, response_tables
from mutual_taught.audit.faults import Fault, Faults
from mutual_taught.audit.run import CheckedIteration
from mutual_taught.config import blocks, params
from mutual_taught.evaluation import describe
from mutual_taught.method.selection import seeds_of, select_checkpoint
from mutual_taught.steps import model_verdicts, rank_pairs, select_policy
from mutual_taught.steps.sample import given as given_rows
from mutual_taught.steps.verdicts import judged

PREVIOUS = (
    "previous_response",
    "previous_token_ids",
    "previous_finish_reason",
    "previous_seed",
    "previous_reward",
)


def responses(of: CheckedIteration) -> Faults:
    """The iteration's prompts were answered M times each, with the seeds they should have."""
    if not of.began:
        return
    path, data = of.path(tables.RESPONSES), of.table(tables.RESPONSES)
    sample = params.load(blocks.Sample, of.key)
    given = sample.source == "given"
    yield from response_tables.asked(path, data["prompt_id"], of.policy_prompts())
    if given:
        expected = given_rows(of.run.reader.tokenizer, of.policy_prompts(), of.settings.tokens)
        yield from faults.compare(path, tables.RESPONSES, data, tables.RESPONSES.sorted(expected))
    else:
        yield from _drawn(of, data, sample)
    count, wanted = joins.width(data, path), 2 if given else sample.responses_per_prompt
    if count != wanted:
        yield Fault(path, "responses a prompt", str(count), f"{wanted} (params.yaml)")
    metrics = of.metrics("sample")
    yield from faults.numbers(metrics, files.read_json(metrics), describe.responses(data))


def _drawn(of: CheckedIteration, data: pa.Table, sample: blocks.Sample) -> Faults:
    """Responses are what a draw can be: seeds, texts, ends, and the sign of log-probs."""
    path, table = of.path(tables.RESPONSES), tables.RESPONSES
    yield from response_tables.seeds(of, table, data, ("sample", of.t))
    yield from response_tables.drawn(path, table, data, of.run.reader, sample.max_new_tokens)
    bad = pc.fill_null(pc.greater(data["logprob"], 0), False).to_numpy()
    yield from faults.first(path, table, data, "logprob", bad, "a log-prob, at most 0")


def rewards(of: CheckedIteration) -> Faults:
    """Every response has a reward, or the reason why it has none."""
    if not of.began:
        return
    path, scored = of.path(tables.REWARDS), of.table(tables.REWARDS)
    data = of.table(tables.RESPONSES)
    joins.same_keys(data, scored, tables.REWARDS, path)
    yield from response_tables.reasons(path, tables.REWARDS, scored)
    overlong = pc.equal(data["finish_reason"], tables.TOO_LONG)
    bad = pc.and_(overlong, pc.not_equal(scored["reason"], tables.TOO_LONG)).to_numpy()
    expected = "too_long: it is, for the policy"
    yield from faults.first(path, tables.REWARDS, scored, "reason", bad, expected)
    rest, fits = scored.filter(pc.invert(overlong)), data.filter(pc.invert(overlong))
    asked = response_tables.asked_with(fits, of.policy_prompts(), path)
    yield from response_tables.unscored(of, tables.REWARDS, rest, asked)
    metrics = of.metrics("score")
    yield from faults.numbers(metrics, files.read_json(metrics), describe.rewards(scored))


def ranked(of: CheckedIteration) -> Faults:
    """Pairs are those that the rule picks of the responses and their rewards."""
    if not of.began:
        return
    drawn, path = of.table(tables.RESPONSES), of.path(tables.RANKED_PAIRS)
    pairs, settings = of.table(tables.RANKED_PAIRS), of.settings.rank_pairs
    width = joins.width(drawn, of.path(tables.RESPONSES))
    scored = of.table(tables.REWARDS)
    expected, slope = rank_pairs.rank(drawn, scored, width, settings.rule)
    yield from faults.compare(path, tables.RANKED_PAIRS, pairs, expected)
    if (stated := tables.provenance(pairs).get("length_slope")) != slope:
        yield Fault(path, "length_slope", str(stated), str(slope))
    yield from _references(of, pairs)
    metrics = of.metrics("rank_pairs")
    actual = files.read_json(metrics)
    if settings.reference_logps == "sampler":  # these need the model
        actual = {name: value for name, value in actual.items() if "difference" not in name}
    counted = {"active": 1.0, **joins.counts(pairs["kept"], pairs["reason"])}
    yield from faults.numbers(metrics, actual, {**counted, "length_slope": slope})


def _references(of: CheckedIteration, pairs: pa.Table) -> Faults:
    """Kept pairs have the reference's log-probs; the sampler's are those of the responses."""
    path, table = of.path(tables.RANKED_PAIRS), tables.RANKED_PAIRS
    if of.settings.rank_pairs.reference_logps == "sampler":
        logps = rank_pairs.sampled_logps(pairs, of.table(tables.RESPONSES))
        columns = {name: pa.array(logps[:, side]) for side, name in enumerate(rank_pairs.REFERENCE)}
        kept = pairs.filter(pairs["kept"])
        expected = pa.table({"prompt_id": kept["prompt_id"], **columns})
        yield from faults.compare(path, table, kept, expected)
    for name in rank_pairs.REFERENCE:
        bad = pairs[name].is_valid().to_numpy() != pairs["kept"].to_numpy()
        wanted = "a number exactly where the pair is kept"
        yield from faults.first(path, table, pairs, name, bad, wanted)


def duels(of: CheckedIteration) -> Faults:
    """Every candidate duelled on every selection prompt, and its judge decides the outcome."""
    if not of.began:
        return
    path, data = of.path(tables.DUELS), of.table(tables.DUELS)
    prompts, split = of.run.split("selection"), of.run.split_file("selection")[0]
    yield from response_tables.asked(path, data["prompt_id"], prompts)
    expected = judged(data, prompts, of.settings.select_policy.judge, split)
    yield from faults.compare(path, tables.DUELS, data, expected)
    yield from _replies(of, data)
    longest, reader = of.settings.duel.max_new_tokens, of.run.reader
    for side, stage in zip(("", "previous_"), seeds_of(of.settings.duel.draws), strict=True):
        yield from response_tables.drawn(path, tables.DUELS, data, reader, longest, side)
        yield from response_tables.seeds(of, tables.DUELS, data, (stage, of.t), side)
    yield from _fought(of, data)


def _replies(of: CheckedIteration, data: pa.Table) -> Faults:
    """A language model's stored replies are to these very duels; it is not asked again."""
    rule, path = of.settings.select_policy, of.path(tables.DUELS)
    if rule.judge != "openai" or rule.judge_model is None:
        return
    prompts, split = of.run.split("selection"), of.run.split_file("selection")[0]
    asked = model_verdicts.requests(data, prompts, rule.judge_model, split)
    for place, name in enumerate(model_verdicts.REPLIES):
        expected = [both[place].key if both else "" for both in asked]
        told = zip(model_verdicts.keys(data, name), expected, strict=True)
        bad = [key not in ("", wanted) for key, wanted in told]
        yield from faults.first(path, tables.DUELS, data, name, bad, "a reply to this duel")


def _fought(of: CheckedIteration, data: pa.Table) -> Faults:
    """All candidates duelled as often as they should, with the same responses of pi_{t-1}."""
    path, steps = of.path(tables.DUELS), read_steps(of.here / "checkpoints")
    wanted = of.settings.duel.responses_per_prompt
    actual = sorted(set(data["step"].to_pylist()))
    if actual != steps:
        yield Fault(path, "steps", str(actual), str(steps))
    first = data.filter(pc.equal(data["step"], data["step"][0]))
    if (count := joins.width(first, path)) != wanted:
        yield Fault(path, "responses a prompt", str(count), f"{wanted} (params.yaml)")
    for step in steps[1:]:
        rows = data.filter(pc.equal(data["step"], step))
        yield from faults.compare(
            path, tables.DUELS, rows, first.select(["prompt_id", "response_index", *PREVIOUS])
        )


def selected(of: CheckedIteration) -> Faults:
    """The policy is the candidate that wins most, or the previous one if it wins too seldom."""
    before = decision.read(of.before / "decision.json")
    now = decision.read(of.here / "decision.json")
    source, expected = of.before / "policy", decision.Decision(False, before.policy_from)
    metrics: dict[str, float] = {"active": 0.0}
    if before.active:
        fought, rule = of.table(tables.DUELS), of.settings.select_policy
        by_step = select_policy.by_step(fought, rule.ties)
        best = select_checkpoint(by_step, rule.win_rate_threshold, rule.rule == "last")
        metrics = select_policy.metrics(best, by_step, fought, rule, of.settings.seed)
        if best.active:
            expected = decision.Decision(True, of.key)
            source = of.here / "checkpoints" / STEP.format(best.step)
    if now != expected:
        yield Fault(of.here / "decision.json", "the decision", str(now), str(expected))
    yield from provenance.same_model(of.here / "policy", source, "the selected policy")
    path = of.metrics("select_policy")
    yield from faults.numbers(path, files.read_json(path), metrics)
