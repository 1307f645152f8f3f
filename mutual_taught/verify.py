"""Recompute every decision of a finished run from its artifacts, and check every digest."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mutual_taught import (
    blocks,
    choose,
    decision,
    describe,
    estep,
    evaluation,
    files,
    mstep,
    params,
    sources,
    splits,
    tables,
)
from mutual_taught.errors import MutualTaughtError
from mutual_taught.keys import prompt_id, sampling_seed, unit_interval
from mutual_taught.selection import outcomes, select_checkpoint


class Fault(NamedTuple):
    """One thing that is not as it should be; `where` names a row, column or key."""

    path: Path
    where: str
    found: str
    expected: str

    def __str__(self) -> str:
        """Say it in one line."""
        return f"{self.path}: {self.where} is {self.found}; expected {self.expected}"


Faults = Iterator[Fault]
PLAIN = (
    tables.RESPONSES, tables.REWARDS, tables.RANKED_PAIRS, tables.DUELS, tables.ANSWERS,
    tables.ANSWER_REWARDS, tables.PSEUDO_PAIRS, tables.REWARD_PAIRS,
)  # fmt: skip
EVAL = (tables.GENERATIONS, tables.JUDGEMENTS, tables.RM_SCORES)
MADE_FROM: tuple[tuple[tables.Table, tuple[str, ...]], ...] = (
    (tables.RESPONSES, ("policy",)),
    (tables.REWARDS, ("reward_model", "responses")),
    (tables.RANKED_PAIRS, ("policy", "responses", "rewards")),
    (tables.DUELS, ("reward_model",)),
    (tables.ANSWERS, ("policy",)),
    (tables.ANSWER_REWARDS, ("reward_model", "answers", "previous_answers")),
    (tables.PSEUDO_PAIRS, ("answers", "previous_answers", "answer_rewards")),
    (
        tables.REWARD_PAIRS,
        ("answers", "previous_answers", "answer_rewards", "ranked_pairs", "responses"),
    ),
)
FINISH = pa.array(["stop", "length"])


class Run:
    """A run's tables, each read and hashed once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.keys = sorted((path.name for path in folder.iterdir() if path.name.isdigit()), key=int)
        self._read: dict[Path, pa.Table] = {}
        self._digests: dict[Path, str] = {}

    def table(self, path: Path, table: tables.Table) -> pa.Table:
        """Read a table, once."""
        if path not in self._read:
            self._read[path] = tables.read(path, table)
        return self._read[path]

    def digest(self, path: Path, table: tables.Table) -> str:
        """Hash a table's rows, once."""
        if path not in self._digests:
            self._digests[path] = tables.rows_digest(self.table(path, table))
        return self._digests[path]

    def forget(self, keep: Path) -> None:
        """Let go of all tables but those of one iteration and of the splits."""
        for path in list(self._read):
            if keep not in path.parents and "splits" not in path.parts and path.parts[-2] != "0":
                del self._read[path]


def verify(folder: Path, models: bool = True) -> Iterator[Fault]:
    """Find what does not follow from the rest.

    Args:
        folder: of the run; params.yaml must be that of the run.
        models: hash the models' files, too.

    Returns:
        Faults as they are found; none if the run is as the method says.
    """
    run = Run(folder)
    settings = params.validate(params.read(params.PARAMS))
    yield from _guarded(folder / "0", _prompts(run, settings))
    for key in run.keys:
        checks = [_tables(run, key), _evaluation(run, key, settings)]
        if key != "0":
            previous = settings.iterations[key].prev
            checks += [
                _responses(run, key, previous, settings), _ranked(run, key, settings),
                _duels(run, key), _selected(run, key, previous, settings),
                _answers(run, key, settings), _pseudo(run, key, previous, settings),
                _lineage(run, key, previous, settings),
            ]  # fmt: skip
        else:
            checks.append(_answers(run, key, settings))
        if models:
            checks.append(_models(folder / key))
        for check in checks:
            yield from _guarded(folder / key, check)
        run.forget(folder / key)


def _guarded(folder: Path, check: Faults) -> Faults:
    """Turn what a reader refuses into a fault, so that the other checks still run."""
    try:
        yield from check
    except MutualTaughtError as error:
        yield Fault(folder, "an artifact", f"refused ({error})", "one that can be read")
    except (ValueError, KeyError, IndexError, pa.ArrowException) as error:
        yield Fault(folder, "an artifact", f"at odds with the others ({error})", "a whole run")


def _same(path: Path, table: tables.Table, found: pa.Table, expected: pa.Table) -> Faults:
    """Compare two tables cell by cell; name the first cell of every column that differs."""
    if len(found) != len(expected):
        yield Fault(path, "the number of rows", str(len(found)), str(len(expected)))
        return
    for name in expected.column_names:
        if name not in table.columns:
            continue
        kind = table.columns[name]
        mine = found[name].cast(kind).combine_chunks()
        right = expected[name].cast(kind).combine_chunks()
        if mine.equals(right):
            continue
        both = zip(mine.to_pylist(), right.to_pylist(), strict=True)
        row = next((i for i, (a, b) in enumerate(both) if a != b), 0)
        yield Fault(path, f"{_row(found, table, row)} {name}", _cell(mine, row), _cell(right, row))


def _row(data: pa.Table, table: tables.Table, row: int) -> str:
    return "row " + ", ".join(f"{key} {data[key][row].as_py()}" for key in table.keys)


def _cell(column: pa.Array, row: int) -> str:
    return repr(column[row].as_py())[:80]


def _first(
    path: Path, table: tables.Table, data: pa.Table, name: str, bad: Any, expected: str
) -> Faults:
    """Report the first row where `bad` (a mask) holds."""
    where = np.flatnonzero(np.asarray(bad))
    if len(where):
        row = int(where[0])
        yield Fault(
            path, f"{_row(data, table, row)} {name}", _cell(data[name].combine_chunks(), row),
            expected,
        )  # fmt: skip


def _number(path: Path, found: Mapping[str, Any], expected: Mapping[str, float | None]) -> Faults:
    for name, value in expected.items():
        if value is not None and np.isfinite(value) and found.get(name) != value:
            yield Fault(path, name, str(found.get(name)), str(value))
    for name in sorted(set(found) - set(expected)):
        yield Fault(path, name, str(found[name]), "no such number")


def _tables(run: Run, key: str) -> Faults:
    """Every table hashes to what it says, column by column, and names its inputs rightly."""
    folder = run.folder / key
    listed = [(folder / f"{t.name}.parquet", t) for t in PLAIN]
    listed += [(folder / "eval" / f"{t.name}.parquet", t) for t in EVAL]
    for path, table in listed:
        if key == "0" and not path.exists():
            continue
        data = run.table(path, table)
        said = tables.said_digests(data)
        for name, value in tables.column_digests(data).items():
            if said["columns"].get(name) != value:
                yield Fault(path, f"column {name}", "altered since it was written", "its digest")
        if said["rows"] != run.digest(path, table):
            yield Fault(path, "the whole", "altered since it was written", "its digest")


def _prompts(run: Run, settings: blocks.Params) -> Faults:
    path = run.folder / "0" / "prompts.parquet"
    prompts = run.table(path, tables.PROMPTS)
    listed = [(path, tables.PROMPTS)]
    listed += [
        (run.folder / "0" / "splits" / f"{name}.parquet", tables.renamed(tables.PROMPTS, name))
        for name in ("policy", "reward", "selection", "eval")
    ]
    for place, table in listed:
        data = run.table(place, table)
        said = tables.said_digests(data)
        for name, value in tables.column_digests(data).items():
            if said["columns"].get(name) != value:
                yield Fault(place, f"column {name}", "altered since it was written", "its digest")
    ids = prompts["prompt_id"].to_pylist()
    hashed = [prompt_id(messages) for messages in prompts["messages"].to_pylist()]
    yield from _first(
        path, tables.PROMPTS, prompts, "prompt_id",
        [a != b for a, b in zip(ids, hashed, strict=True)], "the hash of its messages",
    )  # fmt: skip
    for place, table in listed[1:]:
        part = run.table(place, table)
        if table.name == "policy":
            rows = prompts.filter(pc.starts_with(prompts["split"], "policy_"))
        else:
            rows = prompts.filter(pc.equal(prompts["split"], table.name))
        yield from _same(place, table, part, rows)
    shares, _ = sources.split_plan(settings.data)
    ends = np.cumsum(list(shares.values()))
    where = np.searchsorted(ends, [unit_interval(settings.seed, name) for name in ids], "right")
    right = [[*shares, "no split"][place] for place in where]
    bad = [a != b for a, b in zip(prompts["split"].to_pylist(), right, strict=True)]
    yield from _first(
        path, tables.PROMPTS, prompts, "split", bad, "the split its id falls in (data.splits)"
    )


def _seeds(
    path: Path, table: tables.Table, data: pa.Table, settings: blocks.Params, stage: str, t: int
) -> Faults:
    ids = data["prompt_id"].to_pylist()
    indices = (
        data["response_index"].to_pylist()
        if "response_index" in data.column_names
        else [0] * len(data)
    )
    seeds = np.fromiter(
        (
            sampling_seed(settings.seed, t, stage, prompt, index)
            for prompt, index in zip(ids, indices, strict=True)
        ),
        np.int64,
        len(data),
    )
    bad = data["seed"].to_numpy() != seeds
    yield from _first(path, table, data, "seed", bad, f"that of {stage} at iteration {t}")


def _drawn(path: Path, table: tables.Table, data: pa.Table) -> Faults:
    """Lengths and finish reasons of sampled answers."""
    lengths = pc.list_value_length(data["token_ids"]).to_numpy()
    yield from _first(
        path, table, data, "length_tokens", data["length_tokens"].to_numpy() != lengths,
        "the number of its token_ids",
    )  # fmt: skip
    known = pc.is_in(data["finish_reason"], FINISH).to_numpy()
    yield from _first(path, table, data, "finish_reason", ~known, "stop or length")


def _asked(path: Path, found: pa.ChunkedArray, prompts: pa.Table) -> Faults:
    """The prompts answered are those of the split."""
    mine, right = set(pc.unique(found).to_pylist()), set(prompts["prompt_id"].to_pylist())
    for prompt in sorted(mine ^ right)[:1]:
        there = "answered" if prompt in mine else "not answered"
        yield Fault(path, f"prompt {prompt}", there, "exactly the prompts of its split")


def _split(run: Run, name: str) -> pa.Table:
    path = run.folder / "0" / "splits" / f"{name}.parquet"
    return run.table(path, tables.renamed(tables.PROMPTS, name))


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
    prompts = _split(run, "policy")
    part = splits.policy_part(int(key), len(pc.unique(prompts["split"])))
    yield from _asked(path, data["prompt_id"], prompts.filter(pc.equal(prompts["split"], part)))
    yield from _drawn(path, tables.RESPONSES, data)
    sample = params.load(blocks.Sample, key)
    if sample.source == "policy":
        yield from _seeds(path, tables.RESPONSES, data, settings, "sample", int(key))
    count = tables.width(data, path)
    wanted = sample.responses_per_prompt if sample.source == "policy" else 2
    if count != wanted:
        yield Fault(path, "responses a prompt", str(count), f"{wanted} (params.yaml)")
    scored = run.folder / key / "rewards.parquet"
    tables.same_keys(data, run.table(scored, tables.REWARDS), tables.REWARDS, scored)
    rewards = run.table(scored, tables.REWARDS)
    finite = np.isfinite(rewards["reward"].to_numpy())
    yield from _first(scored, tables.REWARDS, rewards, "reward", ~finite, "a number")
    metrics = run.folder / key / "metrics"
    yield from _number(metrics / "sample.json", files.read_json(metrics / "sample.json"),
                       describe.answers(data))  # fmt: skip
    yield from _number(metrics / "score.json", files.read_json(metrics / "score.json"),
                       describe.rewards(rewards))  # fmt: skip


def _ranked(run: Run, key: str, settings: blocks.Params) -> Faults:
    if not _active(run, key):
        return
    folder = run.folder / key
    path = folder / "ranked_pairs.parquet"
    drawn = run.table(folder / "responses.parquet", tables.RESPONSES)
    scored = run.table(folder / "rewards.parquet", tables.REWARDS)
    pairs = run.table(path, tables.RANKED_PAIRS)
    expected = estep.rank(
        drawn, scored, tables.width(drawn, folder / "responses.parquet"),
        settings.rank_pairs.chosen,
    )  # fmt: skip
    yield from _same(path, tables.RANKED_PAIRS, pairs, expected)
    kept = pairs["kept"].to_numpy()
    for name in ("reference_chosen_logps", "reference_rejected_logps"):
        known = pairs[name].is_valid().to_numpy()
        yield from _first(path, tables.RANKED_PAIRS, pairs, name, known != kept,
                          "a number exactly where the pair is kept")  # fmt: skip
    metrics = folder / "metrics" / "rank_pairs.json"
    yield from _number(
        metrics, files.read_json(metrics),
        {"active": 1.0, **estep.counts(pairs["kept"], pairs["reason"])},
    )  # fmt: skip


def _duels(run: Run, key: str) -> Faults:
    if not _active(run, key):
        return
    folder = run.folder / key
    path = folder / "duels.parquet"
    data = run.table(path, tables.DUELS)
    yield from _asked(path, data["prompt_id"], _split(run, "selection"))
    judged = outcomes(data["reward"].to_numpy(), data["previous_reward"].to_numpy())
    bad = data["outcome"].to_numpy() != judged
    yield from _first(path, tables.DUELS, data, "outcome", bad, "what the two rewards give")
    steps = files.read_json(folder / "checkpoints" / "steps.json")["steps"]
    if sorted(set(data["step"].to_pylist())) != steps:
        yield Fault(path, "steps", str(sorted(set(data["step"].to_pylist()))), str(steps))
    first = data.filter(pc.equal(data["step"], data["step"][0]))
    shared = ("previous_response", "previous_token_ids", "previous_finish_reason",
              "previous_reward")  # fmt: skip
    for step in steps[1:]:
        rows = data.filter(pc.equal(data["step"], step))
        yield from _same(path, tables.DUELS, rows, first.select(["prompt_id", *shared]))


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
        by_step = choose.by_step(run.table(folder / "duels.parquet", tables.DUELS))
        rule = settings.select_policy
        best = select_checkpoint(by_step, rule.win_rate_threshold, rule.rule == "last")
        metrics = choose.metrics(best, by_step, settings.seed)
        if best.active:
            expected = decision.Decision(True, key)
            source = folder / "checkpoints" / files.STEP.format(best.step)
    if now != expected:
        yield Fault(folder / "decision.json", "the decision", str(now), str(expected))
    mine, right = (files.read_manifest(place).digest for place in (folder / "policy", source))
    if mine != right:
        yield Fault(folder / "policy", "the selected policy", mine[:12], f"{source} {right[:12]}")
    path = folder / "metrics" / "select_policy.json"
    yield from _number(path, files.read_json(path), metrics)


def _answers(run: Run, key: str, settings: blocks.Params) -> Faults:
    path = run.folder / key / "answers.parquet"
    data = run.table(path, tables.ANSWERS)
    if not tables.is_active(data):
        return
    yield from _asked(path, data["prompt_id"], _split(run, "reward"))
    yield from _drawn(path, tables.ANSWERS, data)
    yield from _seeds(path, tables.ANSWERS, data, settings, "answer", int(key))


def _pseudo(run: Run, key: str, previous: str, settings: blocks.Params) -> Faults:
    folder = run.folder / key
    path, mixed = folder / "pseudo_pairs.parquet", folder / "reward_pairs.parquet"
    if not decision.read(folder / "decision.json").active:
        return
    answers = run.table(folder / "answers.parquet", tables.ANSWERS)
    before = run.table(run.folder / previous / "answers.parquet", tables.ANSWERS)
    rewards = run.table(folder / "answer_rewards.parquet", tables.ANSWER_REWARDS)
    rule = settings.build_pairs
    expected, epsilon = mstep.pseudo_pairs(answers, before, rewards, rule.filter)
    pairs = run.table(path, tables.PSEUDO_PAIRS)
    yield from _same(path, tables.PSEUDO_PAIRS, pairs, expected)
    if tables.provenance(pairs)["tolerance"] != epsilon:
        yield Fault(path, "tolerance", str(tables.provenance(pairs)["tolerance"]), str(epsilon))
    ranked = run.table(folder / "ranked_pairs.parquet", tables.RANKED_PAIRS)
    responses = run.table(folder / "responses.parquet", tables.RESPONSES)
    earlier = run.table(run.folder / previous / "reward_pairs.parquet", tables.REWARD_PAIRS)
    mix = mstep.combine(ranked, responses, expected, earlier, int(key), rule)
    found = run.table(mixed, tables.REWARD_PAIRS)
    mix = mix.sort_by([(name, "ascending") for name in tables.REWARD_PAIRS.keys])
    yield from _same(mixed, tables.REWARD_PAIRS, found, mix)
    metrics = folder / "metrics" / "build_pairs.json"
    yield from _number(metrics, files.read_json(metrics), mstep.metrics(expected, epsilon, mix))


def _evaluation(run: Run, key: str, settings: blocks.Params) -> Faults:
    folder = run.folder / key / "eval"
    metrics = run.folder / key / "metrics" / "eval.json"
    previous = settings.iterations[key].prev if key != "0" else "0"
    if not decision.read(run.folder / key / "decision.json").active:
        copied = files.read_json(run.folder / previous / "metrics" / "eval.json")
        yield from _number(metrics, files.read_json(metrics), {**copied, "active": 0.0})
        return
    path = folder / "generations.parquet"
    own = run.table(path, tables.GENERATIONS)
    yield from _drawn(path, tables.GENERATIONS, own)
    yield from _seeds(path, tables.GENERATIONS, own, settings, "eval", 0)
    prompts = _split(run, "eval")
    yield from _asked(path, own["prompt_id"], prompts)
    graded = own.drop_columns(["gold", "passed", "length_chars"])
    yield from _same(path, tables.GENERATIONS, own, evaluation.add_gold(graded, prompts))
    systems = evaluation.Systems(
        own, *(run.table(run.folder / place / "eval" / "generations.parquet", tables.GENERATIONS)
               for place in ("0", previous)),
    )  # fmt: skip
    judged = folder / "judgements.parquet"
    judgements = run.table(judged, tables.JUDGEMENTS)
    expected = evaluation.judge(systems)
    by_key = [(name, "ascending") for name in tables.JUDGEMENTS.keys]
    yield from _same(judged, tables.JUDGEMENTS, judgements, expected.sort_by(by_key))
    path = folder / "rm_scores.parquet"
    scores = run.table(path, tables.RM_SCORES)
    mine = evaluation.own_pairs(own)
    if len(mine):
        by_key = [(name, "ascending") for name in tables.RM_SCORES.keys]
        of_own = scores.filter(pc.equal(scores["set"], "own_samples"))
        yield from _same(path, tables.RM_SCORES, of_own, mine.sort_by(by_key))
    yield from _number(
        metrics, files.read_json(metrics),
        {
            "active": 1.0,
            **evaluation.policy_metrics(systems, judgements, settings.seed),
            **evaluation.reward_model_metrics(scores, settings.seed),
        },
    )  # fmt: skip


def _lineage(run: Run, key: str, previous: str, settings: blocks.Params) -> Faults:
    """Every artifact names, by digest, the artifacts it was really made from."""
    here, before = run.folder / key, run.folder / previous
    inputs = _inputs(run, here, before)
    for table, names in MADE_FROM:
        path = here / f"{table.name}.parquet"
        data = run.table(path, table)
        if not tables.is_active(data):
            continue
        said = tables.provenance(data)
        for name in names:
            where = "current_policy" if (table.name, name) == ("answers", "policy") else name
            if said[name] != inputs[where]():
                yield Fault(path, f"provenance {name}", said[name][:12], inputs[where]()[:12])
    if _active(run, key):
        for step in files.read_json(here / "checkpoints" / "steps.json")["steps"]:
            folder = here / "checkpoints" / files.STEP.format(step)
            yield from _made_by(folder, inputs, "policy", ("ranked_pairs", "responses"))
    if decision.read(here / "decision.json").active and params.load(blocks.TrainRm, key).fixed:
        digest, right = files.read_manifest(here / "reward_model").digest, inputs["reward_model"]()
        if digest != right:
            yield Fault(here / "reward_model", "the fixed reward model", digest[:12], right[:12])
    elif decision.read(here / "decision.json").active:
        start = "reward_model" if settings.train_rm.start == "previous" else "base_reward_model"
        yield from _made_by(here / "reward_model", inputs, start, ("reward_pairs",))


def _inputs(run: Run, here: Path, before: Path) -> dict[str, Callable[[], str]]:
    def rows(folder: Path, table: tables.Table) -> Callable[[], str]:
        return lambda: run.digest(folder / f"{table.name}.parquet", table)

    def model(folder: Path) -> Callable[[], str]:
        return lambda: files.read_manifest(folder).digest

    return {
        "policy": model(before / "policy"),
        "current_policy": model(here / "policy"),
        "reward_model": model(before / "reward_model"),
        "base_reward_model": model(run.folder / "0" / "reward_model"),
        "previous_answers": rows(before, tables.ANSWERS),
        **{table.name: rows(here, table) for table in PLAIN},
    }


def _made_by(
    folder: Path, inputs: Mapping[str, Callable[[], str]], parent: str, names: Sequence[str]
) -> Faults:
    manifest = files.read_manifest(folder)
    path = folder / files.MANIFEST
    if manifest.parent != inputs[parent]():
        yield Fault(path, "parent", str(manifest.parent)[:12], inputs[parent]()[:12])
    for name in names:
        if manifest.made_by.get(name) != inputs[name]():
            yield Fault(path, f"made_by.{name}", str(manifest.made_by.get(name))[:12],
                        inputs[name]()[:12])  # fmt: skip


def _models(folder: Path) -> Faults:
    """Every model's files hash to what its manifest says."""
    for path in sorted(folder.rglob(files.MANIFEST)):
        listed = files.read_manifest(path.parent).files
        there = {
            file.relative_to(path.parent).as_posix()
            for file in path.parent.rglob("*")
            if file.is_file() and file != path
        }
        for name in sorted(there ^ set(listed)):
            state = "there" if name in there else "missing"
            yield Fault(path.parent / name, "the file", state, "what manifest.json lists")
        for name in sorted(there & set(listed)):
            if (found := files.sha256(path.parent / name)) != listed[name]:
                yield Fault(path.parent / name, "sha256", found[:12], listed[name][:12])
