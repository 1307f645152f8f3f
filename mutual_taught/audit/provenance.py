"""Whether artifacts were made from what they say they were made from."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import get_args

from mutual_taught.artifacts import files, tables
from mutual_taught.artifacts.manifests import MANIFEST, STEP, read_manifest, read_steps
from mutual_taught.audit.faults import Fault, Faults
from mutual_taught.audit.run import CheckedIteration
from mutual_taught.config import blocks, fields, learning, params
from mutual_taught.evaluation.gold_tables import INSTRUCTIONS
from mutual_taught.sampling import shards
from mutual_taught.training.rounding import UPDATE

# What these inputs are, this audit asks elsewhere: of the prompts, and of every candidate.
APART = ("prompts", "policies")
ASKED = {
    "responses": "policy",
    "duels": "selection",
    "previous_answers": "reward",
    "answers": "reward",
    "generations": "eval",
}
CONVERSATION = ["prompt_id", "messages"]
Digest = Callable[[], str]
EVALUATED = (tables.GENERATIONS, tables.JUDGEMENTS, tables.RM_SCORES)


def drawing(
    stage: str, t: int, count: int, decoding: blocks.Decoding, settings: blocks.Params
) -> files.Json:
    """Give the terms on which responses are drawn, as their provenance names them."""
    return plan_of(stage, t, count, decoding, settings).decides(settings.engine)


def plan_of(
    stage: str, t: int, count: int, decoding: blocks.Decoding, settings: blocks.Params
) -> shards.DrawPlan:
    """Give the plan by which a stage draws, as params.yaml has it; arguments as of `make_plan`."""
    given = blocks.Drawing(settings.engine, settings.tokens, settings.seed)
    return shards.make_plan(stage, t, count, decoding, given)


def reuses(key: str, settings: blocks.Params) -> bool:
    """Tell whether the previous answers of an iteration are those that t - 1 stored."""
    return settings.answer.previous == "reuse" and int(key) > 1


def previous_draw(key: str, settings: blocks.Params) -> tuple[str, int]:
    """Name the stage, and its iteration, whose seeds the previous answers have."""
    return ("answer", int(key) - 1) if reuses(key, settings) else ("answer_previous", int(key))


def terms(key: str, settings: blocks.Params) -> dict[str, files.Json]:
    """Give the parameters that decide an iteration's tables, as provenance names them."""
    sample, dtype = params.load(blocks.Sample, key if key != "0" else None), settings.score.dtype
    count = settings.eval.responses_per_prompt
    drawn = drawing("sample", int(key), sample.responses_per_prompt, sample, settings)
    engine, limit = settings.engine.decides(), {"max_length": settings.tokens.max_length}
    return {
        "responses": drawn if sample.source == "policy" else {"source": "given", **limit},
        "rewards": {"dtype": dtype, **limit},
        "ranked_pairs": settings.rank_pairs.decides(),
        "duels": {
            "duel": settings.duel.model_dump(),
            "seed": settings.seed,
            "dtype": settings.engine.dtype,
            "partition": settings.engine.partition,
            **engine,
            **limit,
        },
        "previous_answers": {
            **drawing(*previous_draw(key, settings), 1, settings.answer, settings),
            **({"against": "base"} if settings.answer.against == "base" else {}),
        },
        "answers": drawing("answer", int(key), 1, settings.answer, settings),
        "answer_rewards": {"dtype": dtype, **limit},
        "pseudo_pairs": {
            "filter": settings.build_pairs.filter,
            **settings.build_pairs.labelling(),
        },
        "reward_pairs": {
            **settings.build_pairs.decides(),
            **({"seed": settings.seed} if settings.build_pairs.seed_preferences else {}),
        },
        "generations": {**drawing("eval", 0, count, settings.eval, settings), **limit},
        "judgements": limit,
        "rm_scores": limit,
    }


def _with_prompts(
    of: CheckedIteration, by_table: Mapping[str, files.Json]
) -> dict[str, files.Json]:
    """Add the digests of the prompts that were answered."""
    asked: dict[str, files.Json] = {}
    for name, split in ASKED.items():
        if split == "policy" and of.t:
            prompts = of.policy_prompts()
            given = by_table[name].get("source") == "given"
            asked[name] = {
                "prompts": tables.rows_digest(prompts if given else prompts.select(CONVERSATION))
            }
        elif split != "policy":
            columns = of.run.columns(*of.run.split_file(split))
            digests = {column: columns[column] for column in CONVERSATION}
            asked[name] = {"prompts": tables.joined(digests)}
    if of.settings.build_pairs.labels == "verifiable":
        asked["pseudo_pairs"] = {"instructions": _instructions(of, "reward")}
    if of.settings.build_pairs.weights == "calibrated":
        asked["reward_pairs"] = {"selection_instructions": _instructions(of, "selection")}
    if (judge := of.settings.select_policy.judge) == "verifiable":
        by_gold = {"judge": judge, "instructions": _instructions(of, "selection")}
        asked["duels"] = {**asked["duels"], **by_gold}
    if judge == "openai":
        by_model = {"judge": judge, "judge_model": of.settings.select_policy.judge_model}
        asked["duels"] = {**asked["duels"], **by_model}
    return {name: {**own, **asked.get(name, {})} for name, own in by_table.items()}


def _instructions(of: CheckedIteration, split: str) -> str:
    """Hash the instructions by which programs judge responses to a split's prompts."""
    columns = of.run.columns(*of.run.split_file(split))
    return tables.joined({name: columns[name] for name in INSTRUCTIONS})


def agrees(
    path: Path, actual: files.Json, expected: files.Json, where: str = "provenance"
) -> Faults:
    """What a file says of itself is right, name by name."""
    for name, value in expected.items():
        if not _fits(actual.get(name), value):
            yield Fault(path, f"{where} {name}", str(actual.get(name))[:80], str(value)[:80])


def same_model(folder: Path, source: Path, what: str) -> Faults:
    """A model is a copy of another: its files, and all that its manifest says of it."""
    actual, expected = read_manifest(folder), read_manifest(source)
    if actual.digest != expected.digest:
        yield Fault(folder, what, actual.digest[:12], f"{source} {expected.digest[:12]}")
    else:
        yield from agrees(folder / MANIFEST, actual._asdict(), expected._asdict(), what)


def _fits(actual: object, expected: object) -> bool:
    """Compare what is said with a parameter; `auto` may have become either format."""
    if expected == "auto":
        return actual in get_args(fields.Dtype)
    if isinstance(expected, dict) and isinstance(actual, dict):
        return actual.keys() == expected.keys() and all(
            _fits(actual[name], expected[name]) for name in expected
        )
    return actual == expected


def made_from(of: CheckedIteration) -> Faults:
    """Every artifact names, by digest, the artifacts it was really made from."""
    inputs = _inputs(of)
    by_table = _with_prompts(of, terms(of.key, of.settings))
    if of.active:
        yield from _evaluated(of, inputs, by_table)
    if not of.t:
        return
    yield from _tables(of, inputs, by_table)
    if of.began:
        yield from _duellists(of)
        yield from _candidates(of, inputs)
    if of.active:
        yield from _reward_model(of, inputs)


def _tables(
    of: CheckedIteration, inputs: Mapping[str, Digest], by_table: Mapping[str, files.Json]
) -> Faults:
    """Tables name the digests of their inputs, and the parameters that decide them."""
    for table in (*tables.EXCHANGED, tables.REWARD_TRAINING):
        data = of.table(table)
        if not tables.is_active(data):
            continue
        named = _sources(table, of.settings)
        digests = {name: inputs[source]() for name, source in named.items()}
        terms = by_table.get(table.name, {})
        yield from agrees(of.path(table), tables.provenance(data), {**digests, **terms})


def _sources(table: tables.Table, settings: blocks.Params) -> dict[str, str]:
    """Say of which input each digest in a table's provenance is."""
    named = {name: name for name in table.made_from.inputs if name not in APART}
    if table.name == "answers":
        named["policy"] = "current_policy"
    if table.name == "previous_answers" and settings.answer.against == "base":
        named["policy"] = "base_policy"
    if table.name == "ranked_pairs" and settings.rank_pairs.reference == "base":
        named["policy"] = "base_policy"
    if table.name == "reward_pairs" and settings.build_pairs.accumulate != "none":
        named["previous_pairs"] = "previous_pairs"
    if table.name == "reward_pairs" and settings.build_pairs.seed_preferences:
        named["seed_pairs"] = "seed_pairs"
    if table.name == "reward_pairs" and settings.build_pairs.weights == "calibrated":
        named["duels"] = "duels"
    return named


def _candidates(of: CheckedIteration, inputs: Mapping[str, Digest]) -> Faults:
    """Candidates were trained from the right policy, on this iteration's pairs, as params say."""
    dpo = params.load(learning.Dpo, of.key)
    start = "base_policy" if dpo.start == "base" else "policy"
    began = {"stage": f"dpo@{of.key}", "policy": inputs[start]()}
    expected = {**began, "dpo": dpo.model_dump(), **learnt(of.settings)}
    for folder in checkpoints(of.here):
        yield from _made_by(of, folder, inputs, start, ("ranked_pairs", "responses"))
        yield from agrees(folder / MANIFEST, read_manifest(folder).made_by, expected, "made_by")


def _reward_model(of: CheckedIteration, inputs: Mapping[str, Digest]) -> Faults:
    """r_t is r_{t-1} where it is fixed; else it was trained on the mix, from where params say."""
    rule, folder = params.load(learning.TrainRm, of.key), of.here / "reward_model"
    if rule.fixed:
        yield from same_model(folder, of.before / "reward_model", "the fixed reward model")
        return
    start = "reward_model" if rule.start == "previous" else "base_reward_model"
    yield from _made_by(of, folder, inputs, start, ("reward_pairs",))
    began = {"stage": f"train_rm@{of.key}", "reward_model": inputs[start]()}
    trained = {**began, "settings": rule.model_dump(), **learnt(of.settings)}
    if rule.average:
        trained["averaged_with"] = inputs["base_reward_model"]()
    yield from agrees(folder / MANIFEST, read_manifest(folder).made_by, trained, "made_by")


def learnt(settings: blocks.Params) -> files.Json:
    """Give what decides any training beside its own block, as manifests name it."""
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


def _duellists(of: CheckedIteration) -> Faults:
    """The policies that duelled are the previous one and all candidates there are."""
    candidates = checkpoints(of.here)
    expected = [read_manifest(folder).digest for folder in (of.before / "policy", *candidates)]
    actual = tables.provenance(of.table(tables.DUELS))
    yield from agrees(of.path(tables.DUELS), actual, {"policies": expected})
    there = {folder for folder in (of.here / "checkpoints").iterdir() if folder.is_dir()}
    for folder in sorted(there ^ set(candidates)):
        state = "there" if folder in there else "missing"
        yield Fault(folder, "the candidate", state, "the steps of steps.json")


def _evaluated(
    of: CheckedIteration, inputs: Mapping[str, Digest], by_table: Mapping[str, files.Json]
) -> Faults:
    """An evaluation is of this iteration's own models."""
    taught_by = inputs["reward_model"] if of.t else inputs["base_reward_model"]
    own = {
        "policy": inputs["current_policy"],
        "reward_model": inputs["current_reward_model"],
        "base_policy": inputs["base_policy"],
        "previous_reward_model": taught_by,
    }
    for table in EVALUATED:
        named = {name: own[name]() for name in table.made_from.inputs if name not in APART}
        expected = {**named, **by_table.get(table.name, {})}
        yield from agrees(of.path(table), tables.provenance(of.table(table)), expected)


def _inputs(of: CheckedIteration) -> dict[str, Digest]:
    """Name what an artifact of an iteration may be made from; a digest is found when asked for."""

    def rows(iteration: CheckedIteration, table: tables.Table) -> Digest:
        return lambda: iteration.run.digest(iteration.path(table), table)

    def model(folder: Path) -> Digest:
        return lambda: read_manifest(folder).digest

    before, start = of._replace(key=of.previous), of.run.folder / "0"
    return {
        "policy": model(of.before / "policy"),
        "current_policy": model(of.here / "policy"),
        "current_reward_model": model(of.here / "reward_model"),
        "reward_model": model(of.before / "reward_model"),
        "base_policy": model(start / "policy"),
        "base_reward_model": model(start / "reward_model"),
        "previous_pairs": rows(before, tables.REWARD_PAIRS),
        "seed_pairs": lambda: of.run.digest(*of.run.seed_pairs()),
        **{table.name: rows(of, table) for table in tables.EXCHANGED},
    }


def _made_by(
    of: CheckedIteration,
    folder: Path,
    inputs: Mapping[str, Digest],
    parent: str,
    names: Sequence[str],
) -> Faults:
    """A trained model is of the right kind and base, and names its parent and its tables."""
    manifest = read_manifest(folder)
    path = folder / MANIFEST
    kind = "policy" if parent in ("policy", "base_policy") else "reward_model"
    if manifest.kind != kind:
        yield Fault(path, "kind", manifest.kind, kind)
    if manifest.base != (base := read_manifest(of.run.folder / "0" / kind).base):
        yield Fault(path, "base", manifest.base, base)
    if manifest.parent != inputs[parent]():
        yield Fault(path, "parent", str(manifest.parent)[:12], inputs[parent]()[:12])
    for name in names:
        actual, expected = manifest.made_by.get(name), inputs[name]()
        if actual != expected:
            yield Fault(path, f"made_by.{name}", str(actual)[:12], expected[:12])
