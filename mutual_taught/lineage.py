"""Whether artifacts were made from what they say, and models hold the files they say."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from mutual_taught import blocks, decision, files, params, tables
from mutual_taught.faults import Fault, Faults, Run

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


def made_from(run: Run, key: str, previous: str, settings: blocks.Params) -> Faults:
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
    if tables.is_active(run.table(here / "responses.parquet", tables.RESPONSES)):
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
        **{table.name: rows(here, table) for table in tables.EXCHANGED},
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


def models(folder: Path) -> Faults:
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
