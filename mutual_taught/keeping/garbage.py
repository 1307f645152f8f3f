"""What a project keeps on the disk that nothing needs, and its removal."""

import fcntl
from collections import defaultdict
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import psutil
from dvc.exceptions import DvcException
from dvc.repo import Repo, lock_repo

from mutual_taught.artifacts import files
from mutual_taught.config import params
from mutual_taught.errors import InputError, MutualTaughtError, first_line
from mutual_taught.keeping import disk, references
from mutual_taught.pipeline import work
from mutual_taught.planning import graph
from mutual_taught.planning.schedule import spell
from mutual_taught.reading import run_state

RUN, LOGS, EXPERIMENTS = Path("run"), Path("logs"), Path(".dvc/tmp/exps")
TEMPORARY = ("tmp*", "standalone/tmp*", f"{disk.GONE}*", f"standalone/{disk.GONE}*")


class Item(NamedTuple):
    """What can go.

    Attributes:
        kind: of what it is: work, temporary, logs, leftovers or cache.
        name: what it is, for people.
        paths: files and folders, in the order in which they go.
        frees: bytes that come free if only it goes.
        again: what making it again costs.
    """

    kind: str
    name: str
    paths: tuple[Path, ...]
    frees: int
    again: str


class Found(NamedTuple):
    """What can go, and what is kept although nobody may need it, each with the reason.

    `frees` are the bytes that come free if all goes: more than the items' sum where a file has
    names in several of them.
    """

    items: tuple[Item, ...]
    kept: tuple[str, ...]
    frees: int


def collect(kinds: Collection[str], remove: bool) -> Found:
    """Find what can go and, if asked, remove it; no run begins or goes on meanwhile.

    Killed in the middle it leaves a sound project: objects that nothing refers to are fewer, and a
    folder that is half removed has a name that no stage looks for.

    Args:
        kinds: of what: work, temporary, logs, leftovers, cache.
        remove: remove what is found.

    Raises:
        InputError: this is no project of DVC, or a run is at work in it.
    """
    try:
        with Repo() as repo, lock_repo(repo), _quiet(Path(repo.root_dir)):
            found = _find(repo, kinds)
            if remove:
                for item in found.items:
                    for path in item.paths:
                        disk.remove(path)
                _remove_empty(found)
            return found
    except DvcException as error:
        raise InputError(
            f"dvc: {first_line(error)}; expected a project in which nothing runs; mend that, or "
            "wait for the run"
        ) from None


@contextmanager
def _quiet(root: Path) -> Iterator[None]:
    """See that nothing is at work, and that no stage begins: the locks of all are held.

    Raises:
        InputError: a DVC of this project runs, or a stage that one has left behind.
    """
    for process in psutil.process_iter(["pid", "cwd", "cmdline"]):
        if _is_dvc(process.info["cmdline"] or []) and _inside(process.info["cwd"], root):
            raise InputError(
                f"process {process.info['pid']} is a DVC at work in {root.name}; expected none; "
                "wait for it, or stop it (a queue's workers: dvc queue stop)"
            )
    with ExitStack() as stack:
        for path in sorted(work.root().glob("*/lock")):
            lock = stack.enter_context(path.open("a"))
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise InputError(
                    f"{path.parent}: a stage works there; expected none; wait for it, or stop it"
                ) from None
        yield


def _is_dvc(command: list[str]) -> bool:
    """Tell whether a process is DVC: `dvc`, `python -m dvc`, or a worker of its queue."""
    paths = [Path(word) for word in command[:3]]
    return any(path.name == "dvc" or path.parts[-2:] == ("dvc", "__main__.py") for path in paths)


def _inside(folder: str | None, root: Path) -> bool:
    return folder is not None and Path(folder).is_relative_to(root.resolve())


def _find(repo: Repo, kinds: Collection[str]) -> Found:
    items: list[Item] = []
    kept: list[str] = []
    if "work" in kinds:
        _work(set(repo.status()), items, kept)
    if "temporary" in kinds:
        _temporary(items)
    if "logs" in kinds and LOGS.is_dir() and any(LOGS.iterdir()):
        again = "training again; run/*/curves keep the curves"
        items.append(_item("logs", f"{LOGS}", tuple(sorted(LOGS.iterdir())), again))
    if "leftovers" in kinds:
        _leftovers(items, kept)
    if "cache" in kinds:
        _cache(repo, items, kept)
    together = disk.freed(path for item in items for path in item.paths)
    return Found(tuple(items), tuple(kept), together)


def _item(kind: str, name: str, paths: tuple[Path, ...], again: str) -> Item:
    return Item(kind, name, paths, disk.freed(paths), again)


def _work(changed: set[str], items: list[Item], kept: list[str]) -> None:
    """Find the parts of stages that have ended, and those that no stage can go on with."""
    going: dict[tuple[str, str], list[Path]] = defaultdict(list)
    outs = {node.name: [Path(out) for out in node.outs] for node in _nodes(None)}
    for place in _places():
        stage = _stage(place)
        made = disk.newest([*outs.get(stage, ()), _perf(stage)])
        if not _usable(place):
            going[stage, "nothing: of other code or versions, so it cannot be gone on with"].append(
                place
            )
        elif stage in outs and stage not in changed and disk.newest([place]) <= made:
            forced = _seconds([_perf(stage)])
            going[stage, f"nothing: up to date ({forced} if forced)"].append(place)
        else:
            size = disk.spell(disk.freed([place]))
            kept.append(f"{place} ({size}): {stage} may go on with it")
    for (stage, again), places in going.items():
        items.append(_item("work", f"parts of {stage}", tuple(places), again))


def _places() -> Iterator[Path]:
    """List the folders of parts, one for each fingerprint of each stage that has a lock."""
    for lock in sorted(work.root().glob("*/lock")):
        yield from sorted(path for path in lock.parent.iterdir() if path.is_dir())


def _stage(place: Path) -> str:
    """Name the stage, with its iteration, whose parts a folder holds."""
    name = place.parent.name.partition("-")[0]
    return work.stage_of(name) if name.endswith("@0") else name


def _usable(place: Path) -> bool:
    """Tell whether a stage of this code, if any, could go on with its parts."""
    if place.name.startswith(disk.GONE):
        return False
    try:
        made_with = files.read_json(place / "fingerprint.json")
    except MutualTaughtError:
        return False  # of a stage that was killed before it began: this is written first
    return bool(
        made_with.get("code") == work.code(work.stage_of(place.parent.name))
        and made_with.get("versions") == work.versions()
    )


def _temporary(items: list[Item]) -> None:
    """Find what experiments in folders of their own (--temp, --queue) left when killed."""
    for pattern in TEMPORARY:
        for path in sorted(EXPERIMENTS.glob(pattern)):
            again = "nothing: what its finished stages made is in the cache"
            items.append(_item("temporary", f"{path}", (path,), again))


def _leftovers(items: list[Item], kept: list[str]) -> None:
    """Find what stages wrote in iterations that params.yaml does not have."""
    expected = run_state.expected(RUN)
    for key in run_state.present(RUN):
        folder = RUN / key
        if key in expected or folder.is_symlink():
            continue
        outs = (Path(out) for node in _nodes(key) for out in node.outs)
        gone = sorted(folder.rglob(f"{disk.GONE}*"))
        paths = tuple(path for path in (*outs, folder / "perf", *gone) if path.exists())
        if paths:
            again = _seconds(sorted((folder / "perf").glob("*.json")))
            items.append(_item("leftovers", f"{folder}", paths, f"{again}, or dvc exp apply"))
        for path in sorted(folder.rglob("*")):
            ours = any(path.is_relative_to(one) for one in paths)
            if not ours and (path.is_symlink() or not path.is_dir()):
                kept.append(f"{path}: no stage wrote it")


def _cache(repo: Repo, items: list[Item], kept: list[str]) -> None:
    """Find the objects of DVC's cache that nothing refers to."""
    try:
        paths = tuple(references.unused(repo))
    except InputError as error:
        kept.append(f"DVC's cache: {error}")
        return
    if paths:
        again = "running again what was run and never committed"
        items.append(_item("cache", f"objects of DVC's cache ({len(paths)})", paths, again))


def _nodes(key: str | None) -> list[graph.Node]:
    """Write out the stages of params.yaml's iterations, or those of one that it does not have."""
    values: dict[str, Any] = params.read(params.PARAMS)
    if key is not None:
        of_one = {key: {"prev": ""}}
        values = {**values, "iterations": of_one, "judge": {"iterations": of_one}}
    nodes = graph.nodes(params.read(graph.GRAPH)["stages"], values)
    return [node for node in nodes if key is None or _iteration(node) == key]


def _iteration(node: graph.Node) -> str:
    """Name the iteration of a stage: of `benchmark@2-pairs` 2, of `eval_base` none."""
    return node.name.partition("@")[2].partition("-")[0]


def _perf(stage: str) -> Path:
    name, _, key = stage.partition("@")
    return RUN / (key or "0") / "perf" / f"{name}.json"


def _seconds(paths: list[Path]) -> str:
    """Say how long stages took, by their own measure."""
    known = [files.read_json(path).get("seconds") for path in paths if path.exists()]
    numbers = [value for value in known if isinstance(value, (int, float))]
    return spell(sum(numbers)) if numbers else "time not known"


def _remove_empty(found: Found) -> None:
    """Remove the folders of leftover iterations that are empty now."""
    for item in found.items:
        if item.kind == "leftovers":
            folders = {parent for path in item.paths for parent in path.parents if parent != RUN}
            inner = sorted((at for at in folders if at.is_relative_to(RUN)), reverse=True)
            for folder in inner:
                if folder.is_dir() and not any(folder.iterdir()):
                    folder.rmdir()
