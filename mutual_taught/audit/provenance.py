"""Whether artifacts were made from what they say, and models hold the files they say."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import get_args

from mutual_taught.artifacts import decision, files, tables
from mutual_taught.artifacts.manifests import MANIFEST, STEP, hashes, read_manifest, read_steps
from mutual_taught.audit import faults
from mutual_taught.audit.faults import Fault, Faults, Run
from mutual_taught.config import blocks, params
from mutual_taught.steps.sample import policy_prompts
from mutual_taught.training.rounding import UPDATE

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
    (tables.REWARD_TRAINING, ("reward_pairs",)),
)
ASKED = {
    "responses": "policy",
    "duels": "selection",
    "answers": "reward",
    "generations": "eval",
}
CONVERSATION = ["prompt_id", "messages"]
EVALUATED: tuple[tuple[tables.Table, str], ...] = (
    (tables.GENERATIONS, "policy"),
    (tables.JUDGEMENTS, "reward_model"),
    (tables.RM_SCORES, "reward_model"),
)


def drawing(
    stage: str, t: int, count: int, decoding: blocks.Decoding, settings: blocks.Params
) -> files.Json:
    """Give the terms on which answers are drawn, as their provenance names them."""
    decode = [decoding.temperature, decoding.top_p, decoding.max_new_tokens]
    engine = settings.engine
    cut = [settings.tokens.max_prompt_tokens, engine.shard_size, engine.batch_size]
    plan = [stage, t, settings.seed, count, *decode, *cut]
    return {"plan": plan, "dtype": engine.dtype, **engine.decides()}


def terms(key: str, settings: blocks.Params) -> dict[str, files.Json]:
    """Give the parameters that decide an iteration's tables, as provenance names them."""
    sample, dtype = params.load(blocks.Sample, key if key != "0" else None), settings.score.dtype
    answers = drawing("answer", int(key), 1, settings.answer, settings)
    count = settings.eval.responses_per_prompt
    drawn = drawing("sample", int(key), sample.responses_per_prompt, sample, settings)
    engine, limit = settings.engine.decides(), {"max_length": settings.tokens.max_length}
    return {
        "responses": drawn if sample.source == "policy" else {"source": "given", **limit},
        "rewards": {"dtype": dtype, **limit},
        "ranked_pairs": settings.rank_pairs.model_dump(exclude={"token_budget"}),
        "duels": {"duel": settings.duel.model_dump(), "seed": settings.seed, **engine, **limit},
        "answers": answers,
        "answer_rewards": {"dtype": dtype, **limit},
        "pseudo_pairs": {"filter": settings.build_pairs.filter},
        "reward_pairs": settings.build_pairs.model_dump(),
        "generations": {**drawing("eval", 0, count, settings.eval, settings), **limit},
        "judgements": limit,
        "rm_scores": limit,
    }


def _with_prompts(run: Run, key: str, told: Mapping[str, files.Json]) -> dict[str, files.Json]:
    """Add the digests of the prompts that were answered."""
    asked: dict[str, files.Json] = {}
    for name, split in ASKED.items():
        path, table = (
            run.folder / "0" / "splits" / f"{split}.parquet",
            tables.renamed(tables.PROMPTS, split),
        )
        if split != "policy":
            columns = run.columns(path, table)
            asked[name] = {
                "prompts": tables.joined({column: columns[column] for column in CONVERSATION})
            }
        elif key != "0":
            prompts = policy_prompts(run.table(path, table), int(key))
            given = told[name].get("source") == "given"
            asked[name] = {
                "prompts": tables.rows_digest(prompts if given else prompts.select(CONVERSATION))
            }
    return {name: {**right, **asked.get(name, {})} for name, right in told.items()}


def _agrees(path: Path, said: files.Json, right: files.Json, where: str = "provenance") -> Faults:
    for name, value in right.items():
        if not _fits(said.get(name), value):
            yield Fault(path, f"{where} {name}", str(said.get(name))[:80], str(value)[:80])


def _fits(said: object, right: object) -> bool:
    """Compare what is said with a parameter; `auto` may have become either format."""
    if right == "auto":
        return said in get_args(blocks.Dtype)
    if isinstance(right, dict) and isinstance(said, dict):
        return said.keys() == right.keys() and all(_fits(said[name], right[name]) for name in right)
    return said == right


def made_from(run: Run, key: str, previous: str, settings: blocks.Params) -> Faults:
    """Every artifact names, by digest, the artifacts it was really made from."""
    here, before = run.folder / key, run.folder / previous
    inputs = _inputs(run, here, before)
    told = _with_prompts(run, key, terms(key, settings))
    yield from _evaluated(run, key, inputs, told)
    if key == "0":
        yield from _base(run, told, settings)
        return
    for table, names in MADE_FROM:
        path = here / f"{table.name}.parquet"
        data = run.table(path, table)
        if not tables.is_active(data):
            continue
        said = tables.provenance(data)
        for name, source in _sources(table, names, settings).items():
            yield from _agrees(path, said, {name: inputs[source]()})
        yield from _agrees(path, said, told.get(table.name, {}))
    if tables.is_active(run.table(here / "responses.parquet", tables.RESPONSES)):
        candidates = checkpoints(here)
        yield from _duellists(run, here, [before / "policy", *candidates])
        for folder in candidates:
            dpo = params.load(blocks.Dpo, key)
            start = "base_policy" if dpo.start == "base" else "policy"
            yield from _made_by(
                folder, run.folder / "0", inputs, start, ("ranked_pairs", "responses")
            )
            learnt = {"policy": inputs[start](), "dpo": dpo.model_dump(), **_training(settings)}
            yield from _agrees(folder / MANIFEST, read_manifest(folder).made_by, learnt, "made_by")
    if decision.read(here / "decision.json").active and params.load(blocks.TrainRm, key).fixed:
        digest, right = read_manifest(here / "reward_model").digest, inputs["reward_model"]()
        if digest != right:
            yield Fault(here / "reward_model", "the fixed reward model", digest[:12], right[:12])
    elif decision.read(here / "decision.json").active:
        rule = params.load(blocks.TrainRm, key)
        start = "reward_model" if rule.start == "previous" else "base_reward_model"
        yield from _made_by(
            here / "reward_model", run.folder / "0", inputs, start, ("reward_pairs",)
        )
        learnt = {"settings": rule.model_dump(), **_training(settings)}
        made_by = read_manifest(here / "reward_model").made_by
        yield from _agrees(here / "reward_model" / MANIFEST, made_by, learnt, "made_by")


def _sources(table: tables.Table, names: Sequence[str], settings: blocks.Params) -> dict[str, str]:
    """Say of which input each digest in a table's provenance is."""
    named = {name: name for name in names}
    if table.name == "answers":
        named["policy"] = "current_policy"
    if table.name == "ranked_pairs" and settings.rank_pairs.reference == "base":
        named["policy"] = "base_policy"
    if table.name == "reward_pairs" and settings.build_pairs.accumulate != "none":
        named["previous_pairs"] = "previous_pairs"
    return named


def _training(settings: blocks.Params) -> files.Json:
    exact = settings.training.export_dtype == "float32"  # then all of an update is exported
    return {
        "training": settings.training.decides(),
        "seed": settings.seed,
        **(dict.fromkeys(UPDATE, 1.0) if exact else {}),
    }


def checkpoints(folder: Path) -> list[Path]:
    """List an iteration's candidates, as its steps.json does."""
    place = folder / "checkpoints"
    return [place / STEP.format(step) for step in read_steps(place)]


def _duellists(run: Run, here: Path, policies: Sequence[Path]) -> Faults:
    """The policies that duelled are the previous one and all candidates there are."""
    path = here / "duels.parquet"
    right = [read_manifest(folder).digest for folder in policies]
    said = tables.provenance(run.table(path, tables.DUELS))
    yield from _agrees(path, said, {"policies": right})
    there = {folder for folder in (here / "checkpoints").iterdir() if folder.is_dir()}
    for folder in sorted(there ^ set(policies[1:])):
        state = "there" if folder in there else "missing"
        yield Fault(folder, "the candidate", state, "the steps of steps.json")


def _evaluated(
    run: Run, key: str, inputs: Mapping[str, Callable[[], str]], told: Mapping[str, files.Json]
) -> Faults:
    """An evaluation is of this iteration's own models."""
    here = run.folder / key
    if not decision.read(here / "decision.json").active:
        return
    own = {"policy": inputs["current_policy"], "reward_model": inputs["current_reward_model"]}
    for table, name in EVALUATED:
        path = here / "eval" / f"{table.name}.parquet"
        said = tables.provenance(run.table(path, table))
        yield from _agrees(path, said, {name: own[name](), **told.get(table.name, {})})


def _base(run: Run, told: Mapping[str, files.Json], settings: blocks.Params) -> Faults:
    """Iteration 0: the prompts, both models, pi_0's answers, and the decision to begin."""
    here = run.folder / "0"
    data = prepared(here, settings)
    for table in (tables.ALL_PROMPTS, tables.DROPPED_PROMPTS):
        path = here / f"{table.name}.parquet"
        yield from _agrees(path, tables.provenance(run.table(path, table)), data)
    yield from _read_with(here, settings)
    yield from _start(here, settings)
    path = here / "answers.parquet"
    right = {"policy": read_manifest(here / "policy").digest, **told["answers"]}
    yield from _agrees(path, tables.provenance(run.table(path, tables.ANSWERS)), right)
    begun, found = decision.Decision(True, "0"), decision.read(here / "decision.json")
    if found != begun:
        yield Fault(here / "decision.json", "the decision", str(found), str(begun))


def prepared(here: Path, settings: blocks.Params) -> files.Json:
    """Give what decides the prompts, as their provenance names it."""
    return {
        "data": settings.data.model_dump(),
        "seed": settings.seed,
        "tokens": settings.tokens.model_dump(),
        "longest_answer": params.longest_answer(),
        "tokenizers": files.digest(hashes(here / "tokenizers")),
    }


def _read_with(here: Path, settings: blocks.Params) -> Faults:
    """Prompts were read with the tokenizers and templates of the base models."""
    own = settings.models.reward_model.source in ("path", "hub")
    for name in ("policy", "reward_model") if own else ("policy",):
        there = read_manifest(here / name).files
        for file, found in hashes(here / "tokenizers" / name).items():
            if file in there and file != "config.json" and found != there[file]:
                place = here / "tokenizers" / name / file
                yield Fault(place, "sha256", found[:12], f"{there[file][:12]}, that of {name}")


def _start(here: Path, settings: blocks.Params) -> Faults:
    """The base models are those that params.yaml names, and r_0 is trained as it says."""
    policy, reward_model = read_manifest(here / "policy"), here / "reward_model"
    first: files.Json = {"kind": "policy", "parent": None}
    second: files.Json = {"kind": "reward_model", "parent": None}
    date = settings.tokens.date
    learnt: files.Json = {"date": date}
    if settings.models.policy.source in ("path", "hub"):
        first = {**first, "base": settings.models.policy.called}
    if settings.models.reward_model.source in ("path", "hub"):
        second = {**second, "base": settings.models.reward_model.called}
    else:
        second = {**second, "parent": policy.digest, "base": policy.base}
        learnt = {
            "policy": policy.digest,
            "settings": settings.base_reward_model.model_dump(),
            **_training(settings),
        }
    yield from _is(here / "policy", first, {"seed": settings.seed, "date": date})
    yield from _is(reward_model, second, learnt)


def _is(folder: Path, right: files.Json, made_by: files.Json) -> Faults:
    """A model says of itself, and of what made it, what is right."""
    manifest, path = read_manifest(folder), folder / MANIFEST
    yield from _agrees(path, manifest._asdict(), right, "the model's")
    yield from _agrees(path, manifest.made_by, made_by, "made_by")


def active(run: Run, key: str, previous: str) -> Faults:
    """Tables are empty, and say so, exactly where the iteration was stopped."""
    here = run.folder / key
    now = decision.read(here / "decision.json").active
    before = key != "0" and decision.read(run.folder / previous / "decision.json").active
    trains = key != "0" and now and not params.load(blocks.TrainRm, key).fixed
    expected = {
        **dict.fromkeys(("responses", "rewards", "ranked_pairs", "duels"), before),
        **dict.fromkeys(("answer_rewards", "pseudo_pairs", "reward_pairs"), now and key != "0"),
        "answers": now,
        "reward_training": trains,
        "generations": True,
        "judgements": True,
    }
    for path, table in run.listed(key):
        data = run.table(path, table)
        right = expected.get(table.name, len(data) > 0)
        if tables.is_active(data) != right or (len(data) > 0) != right:
            state = f"{len(data)} rows, active {str(tables.is_active(data)).lower()}"
            wanted = "rows" if right else "none: the iteration was stopped, or has none of these"
            yield Fault(path, "the table", state, wanted)


def stopped(run: Run, key: str, previous: str) -> Faults:
    """What a stopped iteration carries on is the previous one's, and its stages did nothing."""
    here, before = run.folder / key, run.folder / previous
    if decision.read(here / "decision.json").active:
        return
    mine, right = (read_manifest(place / "reward_model").digest for place in (here, before))
    if mine != right:
        yield Fault(here / "reward_model", "the reward model", mine[:12], f"{before} {right[:12]}")
    for table, _ in EVALUATED:
        own, theirs = (place / "eval" / f"{table.name}.parquet" for place in (here, before))
        if run.digest(own, table) != run.digest(theirs, table):
            yield Fault(own, "the table", "another", f"a copy of {theirs}")
    idle = ["answer", "build_pairs", "train_rm"]
    if not decision.read(before / "decision.json").active:
        idle += ["sample", "score", "rank_pairs", "dpo"]
    for stage in idle:
        path = here / "metrics" / f"{stage}.json"
        yield from faults.numbers(path, files.read_json(path), {"active": 0.0})


def _inputs(run: Run, here: Path, before: Path) -> dict[str, Callable[[], str]]:
    def rows(folder: Path, table: tables.Table) -> Callable[[], str]:
        return lambda: run.digest(folder / f"{table.name}.parquet", table)

    def model(folder: Path) -> Callable[[], str]:
        return lambda: read_manifest(folder).digest

    return {
        "policy": model(before / "policy"),
        "current_policy": model(here / "policy"),
        "current_reward_model": model(here / "reward_model"),
        "reward_model": model(before / "reward_model"),
        "base_policy": model(run.folder / "0" / "policy"),
        "base_reward_model": model(run.folder / "0" / "reward_model"),
        "previous_answers": rows(before, tables.ANSWERS),
        "previous_pairs": rows(before, tables.REWARD_PAIRS),
        **{table.name: rows(here, table) for table in tables.EXCHANGED},
    }


def _made_by(
    folder: Path,
    start: Path,
    inputs: Mapping[str, Callable[[], str]],
    parent: str,
    names: Sequence[str],
) -> Faults:
    manifest = read_manifest(folder)
    path = folder / MANIFEST
    kind = "policy" if parent in ("policy", "base_policy") else "reward_model"
    if manifest.kind != kind:
        yield Fault(path, "kind", manifest.kind, kind)
    if manifest.base != (base := read_manifest(start / kind).base):
        yield Fault(path, "base", manifest.base, base)
    if manifest.parent != inputs[parent]():
        yield Fault(path, "parent", str(manifest.parent)[:12], inputs[parent]()[:12])
    for name in names:
        if manifest.made_by.get(name) != inputs[name]():
            yield Fault(
                path, f"made_by.{name}", str(manifest.made_by.get(name))[:12], inputs[name]()[:12]
            )


def models(folder: Path) -> Faults:
    """Every model's files hash to what its manifest says."""
    for path in sorted(folder.rglob(MANIFEST)):
        listed = read_manifest(path.parent).files
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
