"""Which stages a repro would run, and why: the closure over DVC's graph, before anything runs.

DVC's own `status` and `repro --dry` name the stages that changed directly. Here the graph is gone
through in DVC's order with what is known of every output: it stays, it comes from the run cache, it
would have to be pulled, or it is made anew, in which case whatever reads it runs, too. No lock of
DVC is taken, so it works beside a run.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from mutual_taught.errors import InputError
from mutual_taught.planning.graph import overlap

Action = Literal["run", "restore", "pull", "keep"]
ABSENT = object()


class Todo(NamedTuple):
    """What becomes of a stage.

    action: it runs; its outputs are restored from DVC's caches; they would be pulled (without that
    it runs); it is kept as it is. why: what changed, one thing each. params: the changed keys.
    """

    stage: str
    action: Action
    why: tuple[str, ...]
    params: tuple[str, ...] = ()


class Flags(NamedTuple):
    """Options of `dvc repro`.

    force: what is up to date runs, too. single: only the targets. pull: what is not here is
    fetched; without it, that runs.
    """

    force: bool = False
    single: bool = False
    pull: bool = False


PULLED = Flags(pull=True)


def find(targets: Sequence[str] = (), flags: Flags = PULLED) -> list[Todo]:
    """Say of every stage what a repro would do with it, in the order in which DVC would.

    The working directory is that of the project.

    Args:
        targets: stages to be made with all before them; none for all stages. `dpo` stands for those
            of all iterations.
        flags: of the repro.

    Raises:
        InputError: there is no DVC project, or the graph cannot be read.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import Repo
    from dvc.repo.reproduce import get_active_graph, plan_repro

    try:
        with Repo() as repo:
            graph = get_active_graph(repo.index.graph)
            wanted = [
                stage
                for target in targets
                for stage in graph.nodes
                if target in (stage.name, stage.name.split("@")[0])
            ]
            outs = {out.def_path for stage in graph.nodes for out in stage.outs}
            steps = wanted if flags.single else plan_repro(graph, wanted)
            return list(_closure(steps, outs, flags))
    except DvcException as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"dvc: {reason}; expected a graph that DVC can read; dvc stage list says more"
        ) from None


def _closure(stages: Sequence[Any], outs: Collection[str], flags: Flags) -> Iterator[Todo]:
    """Go through stages in order, keeping in mind what each output will be.

    Args:
        stages: DVC's, in the order in which they run.
        outs: every path that a stage of the graph writes.
        flags: of the repro.
    """
    made: dict[str, str] = {}  # outputs that will be new, and the stage that makes them
    after: dict[str, Any] = {}  # the other outputs, with their digests
    for stage in stages:
        upstream = list(dict.fromkeys(_makers(stage, made)))
        keys = _changed_params(stage)
        why = [*_own(stage), *([f"params {', '.join(keys)}"] if keys else [])]
        why += dict.fromkeys(_changed_files(stage, outs, made, after))
        action: Action = "run"
        if flags.force or upstream:
            why = [*(["--force"] if flags.force else []), *why]
            why += [f"after {name}" for name in upstream]
        elif why and (cached := _in_run_cache(stage, outs, after)) is not None:
            action = "restore"
            after.update(cached)
        elif not why:
            action, why = _outputs(stage, flags.pull)
            after.update({out.def_path: out for out in stage.outs})
        if action == "run":
            made.update({out.def_path: stage.name for out in stage.outs})
        yield Todo(stage.name, action, tuple(why), tuple(keys))


def _outputs(stage: Any, pull: bool) -> tuple[Action, list[str]]:
    """Say what becomes of a stage whose inputs are as they were: are its outputs there?"""
    absent = [out for out in stage.outs if not out.exists or out.changed_checksum()]
    if not absent:
        return "keep", []
    why = [f"{out.def_path} is {'changed' if out.exists else 'not here'}" for out in absent[:1]]
    if all(not out.changed_cache() for out in stage.outs):
        return "restore", why
    return "pull" if pull else "run", why


def _own(stage: Any) -> list[str]:
    if not any(out.hash_info for out in stage.outs):
        return ["never run"]
    return ["its command"] if stage.cmd_changed else []


def _is_params(dep: Any) -> bool:
    from dvc.dependency import ParamsDependency

    return isinstance(dep, ParamsDependency)


def _changed_params(stage: Any) -> list[str]:
    """Name the keys whose values differ from those of the last run."""
    found: list[str] = []
    for dep in stage.deps:
        if _is_params(dep) and dep.hash_info.value is not None:
            found += differing(dep.hash_info.value, dep.read_params())
    return found


def differing(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Name the keys, from the outermost on, whose values differ between two blocks of values."""
    for key in dict.fromkeys([*old, *new]):
        before, now = old.get(key, ABSENT), new.get(key, ABSENT)
        if isinstance(before, Mapping) and isinstance(now, Mapping):
            yield from differing(before, now, f"{prefix}{key}.")
        elif before != now:
            yield f"{prefix}{key}"


def _changed_files(
    stage: Any, outs: Collection[str], made: Mapping[str, str], after: Mapping[str, Any]
) -> Iterator[str]:
    """Name the inputs that differ from those of the last run; those made anew are left out."""
    for dep in stage.deps:
        path = dep.def_path
        if _is_params(dep) or not dep.hash_info or any(overlap(path, new) for new in made):
            continue
        if path in after:
            changed = dep.hash_info != after[path].hash_info
        else:
            of_stage = any(overlap(path, out) for out in outs)
            changed = dep.changed_checksum() if dep.exists else not of_stage
        if changed:
            yield f"{path} is {'changed' if path in after or dep.exists else 'missing'}"


def _makers(stage: Any, made: Mapping[str, str]) -> Iterator[str]:
    """Name the stages that run and make an input of this one."""
    for dep in stage.deps:
        if not _is_params(dep):
            yield from (name for path, name in made.items() if overlap(dep.def_path, path))


def _in_run_cache(
    stage: Any, outs: Collection[str], after: Mapping[str, Any]
) -> dict[str, Any] | None:
    """Look a stage up in DVC's run cache, by its command, inputs and parameters.

    DVC's own look-up hashes the inputs that are here, which are not yet those of the repro. So the
    key is made as DVC makes it, of the inputs as they will be.

    Returns:
        Its outputs, with their digests; None if the run cache, or the cache of files, has them not.
    """
    # Not public: DVC has no look-up by inputs that are not on disk. pyproject.toml holds DVC to the
    # minor version that this was tested with, and tests/stages/test_graph.py compares with a repro.
    from dvc.stage.cache import _get_cache_hash
    from dvc.stage.serialize import to_single_stage_lockfile

    for dep in stage.deps:
        if dep.def_path in after and not _is_params(dep):
            dep.hash_info, dep.meta = after[dep.def_path].hash_info, after[dep.def_path].meta
        elif not dep.exists or any(overlap(dep.def_path, out) for out in outs):
            return None
        else:
            dep.save()
    runs = stage.repo.stage_cache
    key = _get_cache_hash(to_single_stage_lockfile(stage), key=True)
    paths = sorted(Path(runs.cache_dir, key[:2], key).glob("*"), key=lambda at: at.stat().st_mtime)
    entry = runs._load_cache(key, paths[-1].name) if paths else None
    if entry is None:
        return None
    cached = runs._create_stage(entry, wdir=stage.wdir)
    return {out.def_path: out for out in cached.outs} if cached.outs_cached() else None
