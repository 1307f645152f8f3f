"""Recompute every decision of a finished run from its artifacts, and check every digest."""

import csv
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mutual_taught.artifacts import decision, files, joins, tables
from mutual_taught.artifacts.manifests import STEP, read_manifest
from mutual_taught.audit import answer_tables, evaluation, faults, provenance
from mutual_taught.audit.faults import Fault, Faults, Run
from mutual_taught.config import blocks, params
from mutual_taught.errors import MissingFileError, MutualTaughtError
from mutual_taught.evaluation import describe
from mutual_taught.keys import places, prompt_ids
from mutual_taught.method.selection import judge_duels, select_checkpoint
from mutual_taught.prepare import conversations, sources
from mutual_taught.reading import run_state
from mutual_taught.report import markdown, summary
from mutual_taught.steps import build_pairs, rank_pairs, select_policy, train_rm
from mutual_taught.steps.sample import policy_prompts
from mutual_taught.training.export import update_metrics


def verify(folder: Path, models: bool = True) -> Iterator[Fault]:
    """Find what does not follow from the rest.

    Args:
        folder: of the run; params.yaml must be that of the run.
        models: hash the models' files, too.

    Returns:
        Faults as they are found; none if the run is as the method says.
    """
    settings = params.validate(params.read(params.PARAMS))
    there = {path.name for path in files.iterations(folder)}
    wanted = ["0", *settings.iterations]
    for name in sorted(there ^ set(wanted)):
        state = "there" if name in there else "missing"
        if name in there and folder == run_state.RUN:
            state += f" ({run_state.WAY_OUT})"
        yield Fault(folder / name, "the iteration", state, f"{', '.join(wanted)} (params.yaml)")
    run = Run(folder, [key for key in wanted if key in there])
    run.ahead(_all_prompts(run))
    for key in run.keys[:2]:  # read and hashed beside the prompts, which take a while
        run.ahead(run.listed(key))
    yield from _guarded(folder / "0", _prompts(run, settings))
    run.forget([folder / "0" / "prompts.parquet"])
    for key in run.keys:
        run.ahead(run.listed(key))
        previous = settings.iterations[key].prev if key != "0" else "0"
        checks = [
            provenance.active(run, key, previous),
            evaluation.check(run, key, settings),
            _answers(run, key, settings),
            provenance.made_from(run, key, previous, settings),
        ]
        if key != "0":
            checks += [
                _responses(run, key, previous, settings),
                _ranked(run, key, settings),
                _duels(run, key),
                _selected(run, key, previous, settings),
                _pseudo(run, key, previous, settings),
                _trained(run, key),
                provenance.stopped(run, key, previous),
                _summary(run, key),
            ]
        checks.append(_tables(run, key))
        if models:
            checks.append(provenance.models(folder / key))
        for check in checks:
            yield from _guarded(folder / key, check)
        carried = (tables.ANSWERS, tables.REWARD_PAIRS, *faults.EVAL)
        run.forget(path for path, table in run.listed(key) if table not in carried)
        run.forget(path for path, _ in run.listed(previous) if previous != "0")


def _guarded(folder: Path, check: Faults) -> Faults:
    """Turn what a reader refuses into a fault, so that the other checks still run."""
    try:
        yield from check
    except MutualTaughtError as error:
        said = " ".join(str(error).split())
        yield Fault(folder, "an artifact", f"refused ({said})", "one that can be read")
    except (
        ValueError,
        TypeError,
        LookupError,
        AttributeError,
        ArithmeticError,
        OSError,
        pa.ArrowException,
    ) as error:
        said = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        yield Fault(folder, "an artifact", f"at odds with the others ({said})", "a whole run")


def _summary(run: Run, key: str) -> Faults:
    """The summary is that of the metrics of all iterations so far."""
    path = run.folder / key / "metrics" / "summary.json"
    history = [
        {"iteration": int(t), "metrics": markdown.read_metrics(run.folder / t / "metrics")}
        for t in run.keys[: run.keys.index(key) + 1]
    ]
    expected = {k: v for k, v in summary.numbers(history).items() if v is not None}
    yield from faults.numbers(path, files.read_json(path), expected)


def _tables(run: Run, key: str) -> Faults:
    """Every table hashes to what it says, column by column, and names its inputs rightly."""
    for path, table in run.listed(key):
        yield from _digests(run, path, table)


def _digests(run: Run, path: Path, table: tables.Table) -> Faults:
    said = tables.said_digests(run.table(path, table))
    for name, value in run.columns(path, table).items():
        if said["columns"].get(name) != value:
            yield Fault(path, f"column {name}", "altered since it was written", "its digest")
    if said["rows"] != run.digest(path, table):
        yield Fault(path, "the whole", "altered since it was written", "its digest")


def _all_prompts(run: Run) -> list[tuple[Path, tables.Table]]:
    """List the tables of prompts: all of them, then split by split."""
    folder = run.folder / "0"
    return [
        (folder / "prompts.parquet", tables.ALL_PROMPTS),
        *(
            (folder / "splits" / f"{name}.parquet", tables.renamed(tables.PROMPTS, name))
            for name in ("policy", "reward", "selection", "eval")
        ),
    ]


def _prompts(run: Run, settings: blocks.Params) -> Faults:
    listed = _all_prompts(run)
    path, _ = listed[0]
    prompts = run.table(path, tables.ALL_PROMPTS)
    hashed = pa.array(prompt_ids(prompts["messages"].combine_chunks()), tables.TEXT)
    yield from faults.first(
        path,
        tables.PROMPTS,
        prompts,
        "prompt_id",
        pc.not_equal(prompts["prompt_id"].combine_chunks(), hashed),
        "the hash of its messages",
    )
    for place, table in listed:
        yield from _digests(run, place, table)
    for place, table in listed[1:]:
        part = run.table(place, table)
        if table.name == "policy":
            rows = prompts.filter(pc.starts_with(prompts["split"], "policy_"))
        else:
            rows = prompts.filter(pc.equal(prompts["split"], table.name))
        yield from faults.compare(place, table, part, rows)
    shares, sizes = sources.split_plan(settings.data)
    ends = np.cumsum(list(shares.values()))
    where = np.searchsorted(ends, places(settings.seed, prompts["prompt_id"]), "right")
    right = pa.array([*shares, "no split"]).take(pa.array(where))
    bad = pc.not_equal(prompts["split"].combine_chunks(), right)
    dropped = run.table(run.folder / "0" / "dropped_prompts.parquet", tables.DROPPED_PROMPTS)
    rows = tables.provenance(dropped)["rows"]
    counted = sources.counts(prompts["split"], dropped["reason"], rows)
    yield from _dropped(run, prompts, dropped, settings)
    for name, size in sizes.items():
        if size is not None and (found := counted.get(f"prompts_{name}", 0)) != size:
            yield Fault(path, f"split {name}", f"of {found:g} prompts", f"{size} (data.splits)")
    metrics = run.folder / "0" / "metrics" / "prepare_prompts.json"
    yield from faults.numbers(metrics, files.read_json(metrics), counted)
    yield from faults.first(
        path, tables.PROMPTS, prompts, "split", bad, "the split its id falls in (data.splits)"
    )


def _dropped(run: Run, prompts: pa.Table, dropped: pa.Table, settings: blocks.Params) -> Faults:
    """Dropped rows are of the source, have a known reason, are none of the prompts, and are few."""
    path, table = run.folder / "0" / "dropped_prompts.parquet", tables.DROPPED_PROMPTS
    yield from _digests(run, path, table)
    known = pa.array(list(conversations.REASONS), tables.TEXT)
    checks: dict[str, tuple[pa.Array, str]] = {
        "file": (pc.equal(dropped["file"], settings.data.path), settings.data.path),
        "row": (pc.invert(pc.is_in(dropped["row"], prompts["row"])), "of no prompt"),
        "reason": (pc.is_in(dropped["reason"], known), "a reason of docs/data.md"),
    }
    for name, (right, expected) in checks.items():
        bad = pc.invert(right).to_numpy()
        yield from faults.first(path, table, dropped, name, bad, expected)
    rows = tables.provenance(dropped)["rows"]
    if not sources.allowed(len(dropped), rows, settings.data):
        refuses = settings.data.on_bad_row == "refuse"
        most = 0 if refuses else settings.data.max_dropped_share * rows
        yield Fault(path, "the number of rows", str(len(dropped)), f"at most {most:g} of {rows}")


def _active(run: Run, key: str) -> bool:
    """Tell whether an iteration sampled: those after a stop did not."""
    path = run.folder / key / "responses.parquet"
    return tables.is_active(run.table(path, tables.RESPONSES))


def _responses(run: Run, key: str, previous: str, settings: blocks.Params) -> Faults:
    path = run.folder / key / "responses.parquet"
    before = decision.read(run.folder / previous / "decision.json")
    if _active(run, key) != before.active:
        yield Fault(path, "active", str(not before.active), f"as {previous}/decision.json says")
    if not _active(run, key):
        return
    data = run.table(path, tables.RESPONSES)
    prompts = answer_tables.split(run, "policy")
    these = policy_prompts(prompts, int(key))
    yield from answer_tables.asked(path, data["prompt_id"], these)
    sample = params.load(blocks.Sample, key)
    yield from answer_tables.drawn(path, tables.RESPONSES, data, sample.source == "given")
    if sample.source == "policy":
        yield from answer_tables.seeds(path, tables.RESPONSES, data, settings, "sample", int(key))
    count = joins.width(data, path)
    wanted = sample.responses_per_prompt if sample.source == "policy" else 2
    if count != wanted:
        yield Fault(path, "responses a prompt", str(count), f"{wanted} (params.yaml)")
    scored = run.folder / key / "rewards.parquet"
    joins.same_keys(data, run.table(scored, tables.REWARDS), tables.REWARDS, scored)
    rewards = run.table(scored, tables.REWARDS)
    yield from answer_tables.reasons(scored, tables.REWARDS, rewards)
    overlong = pc.equal(data["finish_reason"], tables.TOO_LONG).to_numpy()
    yield from faults.first(
        scored,
        tables.REWARDS,
        rewards,
        "reward",
        overlong & rewards["reward"].is_valid().to_numpy(),
        "null: too long for the policy",
    )
    metrics = run.folder / key / "metrics"
    yield from faults.numbers(
        metrics / "sample.json", files.read_json(metrics / "sample.json"), describe.answers(data)
    )
    yield from faults.numbers(
        metrics / "score.json", files.read_json(metrics / "score.json"), describe.rewards(rewards)
    )


def _ranked(run: Run, key: str, settings: blocks.Params) -> Faults:
    if not _active(run, key):
        return
    folder = run.folder / key
    path = folder / "ranked_pairs.parquet"
    drawn = run.table(folder / "responses.parquet", tables.RESPONSES)
    scored = run.table(folder / "rewards.parquet", tables.REWARDS)
    pairs = run.table(path, tables.RANKED_PAIRS)
    expected = rank_pairs.rank(
        drawn,
        scored,
        joins.width(drawn, folder / "responses.parquet"),
        settings.rank_pairs.chosen,
    )
    yield from faults.compare(path, tables.RANKED_PAIRS, pairs, expected)
    kept = pairs["kept"].to_numpy()
    sampler = settings.rank_pairs.reference_logps == "sampler"
    if sampler:
        logps = rank_pairs.sampled_logps(pairs, drawn)
        columns = {name: pa.array(logps[:, side]) for side, name in enumerate(rank_pairs.REFERENCE)}
        told = pairs.filter(pairs["kept"])
        right = pa.table({"prompt_id": told["prompt_id"], **columns})
        yield from faults.compare(path, tables.RANKED_PAIRS, told, right)
    for name in rank_pairs.REFERENCE:
        known = pairs[name].is_valid().to_numpy()
        yield from faults.first(
            path,
            tables.RANKED_PAIRS,
            pairs,
            name,
            known != kept,
            "a number exactly where the pair is kept",
        )
    metrics = folder / "metrics" / "rank_pairs.json"
    found = files.read_json(metrics)
    if sampler:  # these need the model
        found = {name: value for name, value in found.items() if "difference" not in name}
    right_counts = {"active": 1.0, **joins.counts(pairs["kept"], pairs["reason"])}
    yield from faults.numbers(metrics, found, right_counts)


def _duels(run: Run, key: str) -> Faults:
    if not _active(run, key):
        return
    folder = run.folder / key
    path = folder / "duels.parquet"
    data = run.table(path, tables.DUELS)
    yield from answer_tables.asked(path, data["prompt_id"], answer_tables.split(run, "selection"))
    judged = judge_duels(
        data["reward"].to_numpy(),
        data["previous_reward"].to_numpy(),
        data["prompt_id"].to_numpy(zero_copy_only=False),
    )
    right = pa.table(
        {"outcome": tables.numbers(judged.outcomes), "reason": pa.array(judged.reasons)}
    )
    yield from faults.compare(path, tables.DUELS, data, right)
    for name in ("finish_reason", "previous_finish_reason"):
        known = pc.is_in(data[name], answer_tables.FINISH).to_numpy()
        yield from faults.first(path, tables.DUELS, data, name, ~known, "stop or length")
    steps = [int(place.name.split("-")[1]) for place in provenance.checkpoints(folder)]
    metrics = folder / "metrics" / "dpo.json"
    curve = ("loss", "rewards/accuracies", "rewards/margins")
    last = _last(folder / "curves" / "dpo.csv", curve)
    named = dict(zip(("loss", "reward_accuracy", "reward_margin"), last.values(), strict=True))
    kept = update_metrics(provenance.checkpoints(folder)) if steps else {}
    trained = {"active": 1.0, "steps": float(max(steps, default=0)), **named, **kept}
    yield from faults.numbers(metrics, files.read_json(metrics), trained)
    if sorted(set(data["step"].to_pylist())) != steps:
        yield Fault(path, "steps", str(sorted(set(data["step"].to_pylist()))), str(steps))
    first = data.filter(pc.equal(data["step"], data["step"][0]))
    shared = (
        "previous_response",
        "previous_token_ids",
        "previous_finish_reason",
        "previous_reward",
    )
    for step in steps[1:]:
        rows = data.filter(pc.equal(data["step"], step))
        yield from faults.compare(path, tables.DUELS, rows, first.select(["prompt_id", *shared]))


def _selected(run: Run, key: str, previous: str, settings: blocks.Params) -> Faults:
    folder = run.folder / key
    before = decision.read(run.folder / previous / "decision.json")
    now = decision.read(folder / "decision.json")
    source, expected = (
        run.folder / previous / "policy",
        decision.Decision(False, before.policy_from),
    )
    metrics: dict[str, float] = {"active": 0.0}
    if before.active:
        duels = run.table(folder / "duels.parquet", tables.DUELS)
        rule = settings.select_policy
        by_step = select_policy.by_step(duels, rule.ties)
        best = select_checkpoint(by_step, rule.win_rate_threshold, rule.rule == "last")
        metrics = select_policy.metrics(best, by_step, duels, rule.ties, settings.seed)
        if best.active:
            expected = decision.Decision(True, key)
            source = folder / "checkpoints" / STEP.format(best.step)
    if now != expected:
        yield Fault(folder / "decision.json", "the decision", str(now), str(expected))
    mine, right = (read_manifest(place).digest for place in (folder / "policy", source))
    if mine != right:
        yield Fault(folder / "policy", "the selected policy", mine[:12], f"{source} {right[:12]}")
    path = folder / "metrics" / "select_policy.json"
    yield from faults.numbers(path, files.read_json(path), metrics)


def _answers(run: Run, key: str, settings: blocks.Params) -> Faults:
    path = run.folder / key / "answers.parquet"
    data = run.table(path, tables.ANSWERS)
    if not tables.is_active(data):
        return
    yield from answer_tables.asked(path, data["prompt_id"], answer_tables.split(run, "reward"))
    yield from answer_tables.drawn(path, tables.ANSWERS, data)
    yield from answer_tables.seeds(path, tables.ANSWERS, data, settings, "answer", int(key))
    if key != "0":
        metrics = run.folder / key / "metrics" / "answer.json"
        yield from faults.numbers(metrics, files.read_json(metrics), describe.answers(data))


def _pseudo(run: Run, key: str, previous: str, settings: blocks.Params) -> Faults:
    folder = run.folder / key
    path, mixed = folder / "pseudo_pairs.parquet", folder / "reward_pairs.parquet"
    if not decision.read(folder / "decision.json").active:
        return
    answers = run.table(folder / "answers.parquet", tables.ANSWERS)
    before = run.table(run.folder / previous / "answers.parquet", tables.ANSWERS)
    rewards = run.table(folder / "answer_rewards.parquet", tables.ANSWER_REWARDS)
    yield from answer_tables.reasons(
        folder / "answer_rewards.parquet", tables.ANSWER_REWARDS, rewards
    )
    rule = settings.build_pairs
    expected, epsilon = build_pairs.pseudo_pairs(answers, before, rewards, rule.filter)
    pairs = run.table(path, tables.PSEUDO_PAIRS)
    yield from faults.compare(path, tables.PSEUDO_PAIRS, pairs, expected)
    if tables.provenance(pairs)["tolerance"] != epsilon:
        yield Fault(path, "tolerance", str(tables.provenance(pairs)["tolerance"]), str(epsilon))
    ranked = run.table(folder / "ranked_pairs.parquet", tables.RANKED_PAIRS)
    responses = run.table(folder / "responses.parquet", tables.RESPONSES)
    earlier = run.table(run.folder / previous / "reward_pairs.parquet", tables.REWARD_PAIRS)
    mix = build_pairs.combine(ranked, responses, expected, earlier, int(key), rule)
    found = run.table(mixed, tables.REWARD_PAIRS)
    mix = mix.sort_by([(name, "ascending") for name in tables.REWARD_PAIRS.keys])
    yield from faults.compare(mixed, tables.REWARD_PAIRS, found, mix)
    metrics = folder / "metrics" / "build_pairs.json"
    yield from faults.numbers(
        metrics, files.read_json(metrics), build_pairs.metrics(expected, epsilon, mix)
    )


def _trained(run: Run, key: str) -> Faults:
    """Every epoch met every pair of the mix once."""
    folder = run.folder / key
    path, metrics = folder / "reward_training.parquet", folder / "metrics" / "train_rm.json"
    data = run.table(path, tables.REWARD_TRAINING)
    if not tables.is_active(data):
        if decision.read(folder / "decision.json").active:  # the reward model is fixed
            yield from faults.numbers(
                metrics, files.read_json(metrics), {"active": 1.0, "steps": 0.0}
            )
        return
    margins = data["reward_chosen"].to_numpy() - data["reward_rejected"].to_numpy()
    settings = params.load(blocks.TrainRm, key)
    mix = run.table(folder / "reward_pairs.parquet", tables.REWARD_PAIRS)
    each = -(-len(mix) // settings.batch_size)
    right = {
        "reward_margin": margins,
        "correct": margins > 0,
        "epoch": (data["step"].to_numpy() - 1) // each + 1,
    }
    for name, values in right.items():
        yield from faults.first(
            path,
            tables.REWARD_TRAINING,
            data,
            name,
            data[name].to_numpy() != values,
            "what the other columns give",
        )
    full, last = settings.batch_size, len(mix) - settings.batch_size * (each - 1)
    plan = ([full] * (each - 1) + [last]) * settings.epochs
    for step, (found, size) in enumerate(
        zip_longest(np.bincount(data["step"].to_numpy())[1:].tolist(), plan), 1
    ):
        if found != size:
            yield Fault(path, f"step {step}", f"of {found} pairs", f"{size}")
    ids = _sorted(mix["pair_id"])
    for epoch in range(1, settings.epochs + 1):
        rows = data.filter(pc.equal(data["epoch"], epoch))
        if not _sorted(rows["pair_id"]).equals(ids):
            yield Fault(path, f"epoch {epoch}", "other pairs", "every pair of the mix once")
    right_numbers = {
        "active": 1.0,
        "steps": float(len(plan)),
        **train_rm.accuracy_by_epoch(data),
        **_last(folder / "curves" / "train_rm.csv", ("loss", "accuracy", "margin")),
        **update_metrics([folder / "reward_model"]),
    }
    yield from faults.numbers(metrics, files.read_json(metrics), right_numbers)


def _sorted(column: pa.ChunkedArray) -> pa.Array:
    return column.combine_chunks().sort()


def _last(path: Path, names: Sequence[str]) -> dict[str, float]:
    """Read numbers of a curve's last step."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            row = list(csv.DictReader(file))[-1]
    except (OSError, IndexError, UnicodeDecodeError):
        raise MissingFileError(f"{path}: holds no curve; run dvc repro") from None
    return {name: float(row[name]) for name in names}
