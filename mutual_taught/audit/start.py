"""Whether iteration 0 is that of params.yaml: the prompts, both base models, the first answers."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mutual_taught.artifacts import decision, files, tables
from mutual_taught.artifacts.manifests import MANIFEST, hashes, read_manifest
from mutual_taught.audit import faults, integrity
from mutual_taught.audit.faults import Fault, Faults
from mutual_taught.audit.provenance import agrees, learnt
from mutual_taught.audit.run import Iteration, Run
from mutual_taught.config import blocks, params
from mutual_taught.keys import places, prompt_ids
from mutual_taught.planning.workload import PREFERENCES
from mutual_taught.prepare import conversations, sources
from mutual_taught.prepare.reward_model import METRICS, fitting
from mutual_taught.terminal.signs import excerpt
from mutual_taught.training.settings import total_steps

SOURCED = pa.schema([field for field in tables.PROMPTS.schema if field.name != "split"])
SPLITS = ("policy", "reward", "selection", "eval")


def listed(run: Run) -> list[tuple[Path, tables.Table]]:
    """List the tables of prompts: all of them, then split by split."""
    whole = run.folder / "0" / "prompts.parquet", tables.ALL_PROMPTS
    return [whole, *map(run.split_file, SPLITS)]


def prompts(run: Run, settings: blocks.Params) -> Faults:
    """Prompts have the ids, and stand in the splits, that their texts and the seed give."""
    (path, table), *parts = listed(run)
    whole = run.table(path, table)
    yield from _named(path, whole)
    for place, kind in listed(run):
        yield from integrity.altered(run, place, kind)
    for (place, kind), rows in zip(parts, sources.by_split(whole).values(), strict=True):
        yield from faults.compare(place, kind, run.table(place, kind), rows)
    yield from _dropped(run, whole, settings)
    yield from _sourced(run, whole, settings)
    yield from _counted(run, whole, settings)
    yield from _placed(path, whole, settings)


def _named(path: Path, whole: pa.Table) -> Faults:
    hashed = pa.array(prompt_ids(whole["messages"].combine_chunks()), tables.TEXT)
    bad = pc.not_equal(whole["prompt_id"].combine_chunks(), hashed)
    yield from faults.first(
        path, tables.PROMPTS, whole, "prompt_id", bad, "the hash of its messages"
    )


def _placed(path: Path, whole: pa.Table, settings: blocks.Params) -> Faults:
    """Every prompt is in the split that its id and the seed give."""
    shares, _ = sources.split_plan(settings.data)
    ends = np.cumsum(list(shares.values()))
    where = np.searchsorted(ends, places(settings.seed, whole["prompt_id"]), "right")
    right = pa.array([*shares, "no split"]).take(pa.array(where))
    bad = pc.not_equal(whole["split"].combine_chunks(), right)
    yield from faults.first(
        path, tables.PROMPTS, whole, "split", bad, "the split its id falls in (data.splits)"
    )


def _sourced(run: Run, whole: pa.Table, settings: blocks.Params) -> Faults:
    """Prompts and dropped rows are what the source has in these rows; the hub is not asked."""
    if settings.data.source == "hub":
        return
    path, table = run.folder / "0" / "dropped_prompts.parquet", tables.DROPPED_PROMPTS
    dropped = run.table(path, table)
    kept, out = (dict.fromkeys(data["row"].to_pylist()) for data in (whole, dropped))
    for number, prompt, text in sources.again(settings.data, settings.seed):
        if number in kept and prompt:
            kept[number] = prompt._asdict()
        elif number in out:
            out[number] = excerpt(text)
    place = run.folder / "0" / "prompts.parquet"
    bad = [kept[row] is None for row in whole["row"].to_pylist()]
    yield from faults.first(place, tables.PROMPTS, whole, "row", bad, "a row of data.path")
    if not any(bad):
        right = pa.Table.from_pylist(list(kept.values()), SOURCED)
        yield from faults.compare(place, tables.PROMPTS, whole, right)
    right = pa.table([pa.array(list(out.values()), tables.TEXT)], ["excerpt"])
    yield from faults.compare(path, table, dropped, right)


def gold_pairs(of: Iteration) -> Faults:
    """The gold pairs are those of the file that params.yaml names."""
    path, table = tables.GOLD_PAIRS.path(of.here), tables.GOLD_PAIRS
    yield from integrity.altered(of.run, path, table)
    place = of.settings.eval.gold_pairs
    right = table.sorted(sources.gold_pairs(None if place is None else Path(place)))
    yield from faults.compare(path, table, of.run.table(path, table), right)


def reward_model(of: Iteration) -> Faults:
    """r_0 was trained on the seed preferences that fit, in as many steps; or was given."""
    metrics = of.here / METRICS
    if of.settings.models.reward_model.source not in ("trained", "tiny"):
        given = {"active": 1.0, "rows": 0.0, "kept": 0.0}
        yield from faults.numbers(metrics, files.read_json(metrics), given)
        return
    pairs, counted = fitting(PREFERENCES, of.run.reader.judging, of.settings.tokens)
    yield from faults.numbers(metrics, files.read_json(metrics), counted)
    steps = total_steps(len(pairs), of.settings.base_reward_model)
    right = {"preferences": tables.rows_digest(pairs), "step": steps}
    path = of.here / "reward_model"
    yield from agrees(path / MANIFEST, read_manifest(path).made_by, right, "made_by")


def _counted(run: Run, whole: pa.Table, settings: blocks.Params) -> Faults:
    """Splits are as large as params.yaml says, and the numbers of prompts are counted."""
    here = run.folder / "0"
    dropped = run.table(here / "dropped_prompts.parquet", tables.DROPPED_PROMPTS)
    rows = tables.provenance(dropped)["rows"]
    counted = sources.counts(whole["split"], dropped["reason"], rows)
    _, sizes = sources.split_plan(settings.data)
    for name, size in sizes.items():
        if size is not None and (found := counted.get(f"prompts_{name}", 0)) != size:
            place = here / "prompts.parquet"
            yield Fault(place, f"split {name}", f"of {found:g} prompts", f"{size} (data.splits)")
    metrics = here / "metrics" / "prepare_prompts.json"
    yield from faults.numbers(metrics, files.read_json(metrics), counted)


def _dropped(run: Run, whole: pa.Table, settings: blocks.Params) -> Faults:
    """Dropped rows are of the source, have a known reason, are none of the prompts, and are few."""
    path, table = run.folder / "0" / "dropped_prompts.parquet", tables.DROPPED_PROMPTS
    dropped = run.table(path, table)
    yield from integrity.altered(run, path, table)
    known = pa.array(list(conversations.REASONS), tables.TEXT)
    checks: dict[str, tuple[pa.Array, str]] = {
        "file": (pc.equal(dropped["file"], settings.data.path), settings.data.path),
        "row": (pc.invert(pc.is_in(dropped["row"], whole["row"])), "of no prompt"),
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


def base(of: Iteration) -> Faults:
    """The prompts and both models are those that params.yaml names, and the run is begun."""
    data = prepared(of.here, of.settings)
    for table in (tables.ALL_PROMPTS, tables.DROPPED_PROMPTS):
        yield from agrees(of.path(table), tables.provenance(of.table(table)), data)
    yield from _read_with(of.here, of.settings)
    yield from _models(of.here, of.settings)
    begun, found = decision.Decision(True, "0"), decision.read(of.here / "decision.json")
    if found != begun:
        yield Fault(of.here / "decision.json", "the decision", str(found), str(begun))


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


def _models(here: Path, settings: blocks.Params) -> Faults:
    """The base models are those that params.yaml names, and r_0 is trained as it says."""
    policy, date = read_manifest(here / "policy"), settings.tokens.date
    first: files.Json = {"kind": "policy", "parent": None}
    second: files.Json = {"kind": "reward_model", "parent": None}
    made_by: files.Json = {"date": date}
    if settings.models.policy.source in ("path", "hub"):
        first = {**first, "base": settings.models.policy.called}
    if settings.models.reward_model.source in ("path", "hub"):
        second = {**second, "base": settings.models.reward_model.called}
    else:
        second = {**second, "parent": policy.digest, "base": policy.base}
        trained = {"policy": policy.digest, "settings": settings.base_reward_model.model_dump()}
        made_by = {**trained, **learnt(settings)}
    yield from _is(here / "policy", first, {"seed": settings.seed, "date": date})
    yield from _is(here / "reward_model", second, made_by)


def _is(folder: Path, right: files.Json, made_by: files.Json) -> Faults:
    """A model says of itself, and of what made it, what is right."""
    manifest, path = read_manifest(folder), folder / MANIFEST
    yield from agrees(path, manifest._asdict(), right, "the model's")
    yield from agrees(path, manifest.made_by, made_by, "made_by")
