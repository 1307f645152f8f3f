"""Whether iteration 0 is that of params.yaml: the prompts, both base models, the first answers."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mutual_taught.artifacts import decision, files, tables
from mutual_taught.artifacts.manifests import MANIFEST, hashes, read_manifest
from mutual_taught.audit import faults, integrity
from mutual_taught.audit.faults import Fault, Faults
from mutual_taught.audit.provenance import agrees, learnt
from mutual_taught.audit.run import CheckedIteration, Run
from mutual_taught.config import blocks, inputs, params
from mutual_taught.config.blocks import SUBSET
from mutual_taught.keys import places, prompt_ids
from mutual_taught.planning.workload import PREFERENCES
from mutual_taught.prepare import conversations, held_out, sources
from mutual_taught.prepare.contamination import HELD_OUT
from mutual_taught.prepare.reward_model import METRICS, fitting
from mutual_taught.terminal.signs import excerpt
from mutual_taught.training.settings import total_steps

SOURCED = pa.schema([field for field in tables.PROMPTS.schema if field.name != "split"])
Place = tuple[str, int]  # a file, and a row of it
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
        actual = run.table(place, kind)
        yield from faults.compare(place, kind, actual, rows)
        yield from agrees(place, tables.provenance(actual), {"seed": settings.seed})
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
    expected = _falls(shares, whole, settings.seed)
    if settings.data.given is not None:  # the policy's prompts are from another file
        own, _ = sources.given_plan(settings.data)
        policy = pc.starts_with(whole["split"], "policy_").combine_chunks()
        expected = pc.if_else(policy, _falls(own, whole, settings.seed), expected)
    bad = pc.not_equal(whole["split"].combine_chunks(), expected)
    yield from faults.first(
        path, tables.PROMPTS, whole, "split", bad, "the split its id falls in (data.splits)"
    )


def _falls(shares: Mapping[str, float], whole: pa.Table, seed: int) -> pa.Array:
    """Name the split, of these shares, that each prompt's id falls in."""
    where = np.searchsorted(
        np.cumsum(list(shares.values())), places(seed, whole["prompt_id"]), "right"
    )
    return pa.array([*shares, "no split"]).take(pa.array(where))


def absent(folder: Path, settings: blocks.Params) -> Iterator[str]:
    """Say which sources are not here, so that nothing is compared with them; the hub is not asked.

    Args:
        folder: of the run.
        settings: those of the run.
    """
    for place, table in (
        *((place, tables.ALL_PROMPTS) for place in _prompt_files(settings.data)),
        (_pair_file(settings), tables.GOLD_PAIRS),
    ):
        if place is not None and not Path(place).exists():
            copied = table.path(folder / "0")
            yield f"{place} is not here, and {copied} was not compared with it"


def _pair_file(settings: blocks.Params) -> str | None:
    """Name the file that gold pairs are read from, if they are from one."""
    named = params.named_pairs(settings, PREFERENCES)
    return None if named is None or named.startswith(SUBSET) else named


def _prompt_files(data: inputs.Data) -> list[str]:
    """List the files that prompts are read from."""
    own = [] if data.source == "hub" else [data.path]
    return own + ([data.given.path] if data.given else [])


def _sourced(run: Run, whole: pa.Table, settings: blocks.Params) -> Faults:
    """Prompts and dropped rows are what their files have in these rows, if all are here."""
    needed = _prompt_files(settings.data)
    if settings.data.source == "hub" or not all(Path(place).exists() for place in needed):
        return
    path, table = run.folder / "0" / "dropped_prompts.parquet", tables.DROPPED_PROMPTS
    dropped = run.table(path, table)
    places = _places(whole, settings.data)
    kept: dict[Place, files.Json | None] = dict.fromkeys(places)
    out: dict[Place, object] = dict.fromkeys(_dropped_places(dropped))
    for where, prompt, text in sources.again(settings.data, settings.seed):
        if where in kept and prompt:
            kept[where] = prompt._asdict()
        elif where in out:
            out[where] = excerpt(text)
    place = run.folder / "0" / "prompts.parquet"
    bad = [kept[where] is None for where in places]
    yield from faults.first(place, tables.PROMPTS, whole, "row", bad, "a row of its file")
    if not any(bad):
        expected = pa.Table.from_pylist(list(kept.values()), SOURCED)
        yield from faults.compare(place, tables.PROMPTS, whole, expected)
    expected = pa.table([pa.array(list(out.values()), tables.TEXT)], ["excerpt"])
    yield from faults.compare(path, table, dropped, expected)


def gold_pairs(of: CheckedIteration) -> Faults:
    """The gold pairs are those of the file that params.yaml names, if it is here."""
    path, table = tables.GOLD_PAIRS.path(of.here), tables.GOLD_PAIRS
    yield from integrity.altered(of.run, path, table)
    found, named = of.run.table(path, table), params.named_pairs(of.settings, PREFERENCES)
    if named is not None and named.startswith(SUBSET):
        yield from _subset(of, path, found, named)
        return
    source = None if named is None else Path(named)
    if source is not None and not source.exists():
        return
    expected = table.sorted(sources.gold_pairs(source))
    yield from faults.compare(path, table, found, expected)


def _subset(of: CheckedIteration, path: Path, found: pa.Table, named: str) -> Faults:
    """Pairs of a subset of the hub, which is not asked: what they say of themselves is right."""
    table, rows = tables.GOLD_PAIRS, len(found)
    ids = prompt_ids(found["messages"].combine_chunks())
    sides: dict[str, list[object]] = {
        "prompt_id": list(ids),
        "gold_chosen": [1.0] * rows,
        "gold_rejected": [0.0] * rows,
        "part": [HELD_OUT] * rows,
    }
    yield from faults.compare(path, table, found, pa.table(sides))
    trained = sources.trained_on({name: of.run.split(name) for name in SPLITS})
    bad = [prompt in trained for prompt in ids]
    yield from faults.first(path, table, found, "prompt_id", bad, "of no prompt that is trained on")
    said = {"subset": held_out.subset_of(named, of.settings.data)}
    yield from agrees(path, tables.provenance(found), said)


def reward_model(of: CheckedIteration) -> Faults:
    """r_0 was trained on the seed preferences that fit, in as many steps; or was given."""
    metrics, place = of.here / METRICS, of.run.seed_pairs()
    yield from integrity.altered(of.run, *place)
    if of.settings.models.reward_model.source not in ("trained", "tiny"):
        given = {"active": 1.0, "rows": 0.0, "kept": 0.0}
        yield from faults.numbers(metrics, files.read_json(metrics), given)
        yield from faults.compare(*place, of.run.table(*place), place[1].schema.empty_table())
        return
    pairs, counted = fitting(PREFERENCES, of.run.reader.judging, of.settings.tokens)
    yield from faults.numbers(metrics, files.read_json(metrics), counted)
    actual = of.run.table(*place)
    yield from faults.compare(*place, actual, place[1].sorted(pairs))
    limit = {"max_length": of.settings.tokens.max_length}
    yield from agrees(place[0], tables.provenance(actual), limit)
    steps = total_steps(len(pairs), of.settings.base_reward_model)
    expected = {"preferences": tables.rows_digest(pairs), "step": steps}
    path = of.here / "reward_model"
    yield from agrees(path / MANIFEST, read_manifest(path).made_by, expected, "made_by")


def _counted(run: Run, whole: pa.Table, settings: blocks.Params) -> Faults:
    """Splits are as large as params.yaml says, and the numbers of prompts are counted."""
    here = run.folder / "0"
    dropped = run.table(here / "dropped_prompts.parquet", tables.DROPPED_PROMPTS)
    rows = tables.provenance(dropped)["rows"]
    counted = sources.counts(whole["split"], dropped["reason"], rows)
    pairs = run.table(tables.GOLD_PAIRS.path(here), tables.GOLD_PAIRS)
    counted |= held_out.counts(tables.provenance(pairs).get("dropped", {}))
    _, sizes = sources.split_plan(settings.data)
    for name, size in sizes.items():
        if size is not None and (actual := counted.get(f"prompts_{name}", 0)) != size:
            place = here / "prompts.parquet"
            yield Fault(place, f"split {name}", f"of {actual:g} prompts", f"{size} (data.splits)")
    metrics = here / "metrics" / "prepare_prompts.json"
    yield from faults.numbers(metrics, files.read_json(metrics), counted)


def _dropped(run: Run, whole: pa.Table, settings: blocks.Params) -> Faults:
    """Dropped rows are of the source, have a known reason, are none of the prompts, and are few."""
    path, table = run.folder / "0" / "dropped_prompts.parquet", tables.DROPPED_PROMPTS
    dropped = run.table(path, table)
    yield from integrity.altered(run, path, table)
    known = pa.array(list(conversations.REASONS), tables.TEXT)
    given = settings.data.given
    named = [settings.data.path, *([given.path] if given else [])]
    used = set(_places(whole, settings.data))
    unused = pa.array([where not in used for where in _dropped_places(dropped)], tables.FLAG)
    checks: dict[str, tuple[pa.Array, str]] = {
        "file": (pc.is_in(dropped["file"], pa.array(named)), " or ".join(named)),
        "row": (pa.chunked_array([unused]), "of no prompt"),
        "reason": (pc.is_in(dropped["reason"], known), "a reason of docs/data.md"),
    }
    for name, (fits, expected) in checks.items():
        bad = pc.invert(fits).to_numpy()
        yield from faults.first(path, table, dropped, name, bad, expected)
    rows = tables.provenance(dropped)["rows"]
    if not sources.allowed(len(dropped), rows, settings.data):
        refuses = settings.data.on_bad_row == "refuse"
        most = 0 if refuses else settings.data.max_dropped_share * rows
        yield Fault(path, "the number of rows", str(len(dropped)), f"at most {most:g} of {rows}")


def _places(whole: pa.Table, data: inputs.Data) -> list[Place]:
    """Say which file, and which row of it, every prompt was read from."""
    policy = data.given.path if data.given else data.path
    return [
        (policy if split.startswith("policy_") else data.path, row)
        for split, row in zip(whole["split"].to_pylist(), whole["row"].to_pylist(), strict=True)
    ]


def _dropped_places(dropped: pa.Table) -> list[Place]:
    return list(zip(dropped["file"].to_pylist(), dropped["row"].to_pylist(), strict=True))


def base(of: CheckedIteration) -> Faults:
    """The prompts and both models are those that params.yaml names, and the run is begun."""
    data = prepared(of.here, of.settings)
    for table in (tables.ALL_PROMPTS, tables.DROPPED_PROMPTS):
        yield from agrees(of.path(table), tables.provenance(of.table(table)), data)
    yield from _read_with(of.here, of.settings)
    yield from _models(of.here, of.settings)
    begun, actual = decision.Decision(True, "0"), decision.read(of.here / "decision.json")
    if actual != begun:
        yield Fault(of.here / "decision.json", "the decision", str(actual), str(begun))


def prepared(here: Path, settings: blocks.Params) -> files.Json:
    """Give what decides the prompts, as their provenance names it."""
    return {
        "data": settings.data.model_dump(),
        "seed": settings.seed,
        "tokens": settings.tokens.model_dump(),
        "longest_answer": params.longest_response(),
        "tokenizers": files.digest(hashes(here / "tokenizers")),
    }


def _read_with(here: Path, settings: blocks.Params) -> Faults:
    """Prompts were read with the tokenizers and templates of the base models."""
    own = settings.models.reward_model.source in ("path", "hub")
    for name in ("policy", "reward_model") if own else ("policy",):
        there = read_manifest(here / name).files
        for file, actual in hashes(here / "tokenizers" / name).items():
            if file in there and file != "config.json" and actual != there[file]:
                place = here / "tokenizers" / name / file
                yield Fault(place, "sha256", actual[:12], f"{there[file][:12]}, that of {name}")


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
    took = {"stage": "prepare_policy", "seed": settings.seed, "date": date}
    yield from _is(here / "policy", first, took)
    yield from _is(here / "reward_model", second, {"stage": "prepare_reward_model", **made_by})


def _is(folder: Path, expected: files.Json, made_by: files.Json) -> Faults:
    """A model says of itself, and of what made it, what is right."""
    manifest, path = read_manifest(folder), folder / MANIFEST
    yield from agrees(path, manifest._asdict(), expected, "the model's")
    yield from agrees(path, manifest.made_by, made_by, "made_by")
