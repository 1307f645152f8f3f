"""Runs to compare: the files of a folder, or of a commit or experiment without checking it out."""

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from mutual_taught.artifacts import tables
from mutual_taught.artifacts.files import read_json
from mutual_taught.config import params
from mutual_taught.errors import InputError
from mutual_taught.running.experiments import git, repository
from mutual_taught.terminal import near

if TYPE_CHECKING:
    import pyarrow as pa
    from dvc.repo import Repo

WORKSPACE = "workspace"
LOCK = "dvc.lock"
Values = Mapping[str, Any]
Find = Callable[[str], Path | None]  # where a file of the run is, by its path such as run/0/policy


class ComparedRun(NamedTuple):
    """What is compared of a run: None where it could not be read, and `notes` says why."""

    name: str
    values: Values | None
    summary: Mapping[str, float] | None
    generations: "pa.Table | None"
    notes: tuple[str, ...] = ()


class Lock(NamedTuple):
    """What dvc.lock says: the digest of each output, and the parameters that stages ran with."""

    outs: Mapping[str, str]
    ran_with: Mapping[str, object]


def read(names: Sequence[str]) -> list[ComparedRun]:
    """Read runs: a folder as it is, another name as an experiment, commit, branch or tag.

    Args:
        names: what to read; none: the workspace and all experiments of this commit. A folder is a
            project's or the `run` inside it.

    Raises:
        InputError: a name is no folder with a run, and nothing in git.
    """
    with ExitStack() as stack:
        repo = None
        if not names or any(_folder(name) is None for name in names):
            repo = stack.enter_context(repository())
        wanted = dict.fromkeys(names or [WORKSPACE, *(_experiments(repo) if repo else [])])
        return [_one(name, repo) for name in wanted]


def _experiments(repo: "Repo") -> list[str]:
    listed = repo.experiments.ls().get(repo.scm.get_rev(), [])
    return sorted(name for name, _ in listed)


def _one(name: str, repo: "Repo | None") -> ComparedRun:
    folder = _folder(name)
    if folder is not None:
        return _of_folder(name, folder)
    assert repo is not None
    return _of_commit(name, repo)


def _folder(name: str) -> Path | None:
    """Find the folder of a project, or of a run, that a name is."""
    path = Path() if name == WORKSPACE else Path(name)
    return path if (path / params.PARAMS).is_file() or (path / "0").is_dir() else None


def _of_folder(name: str, folder: Path) -> ComparedRun:
    bare = not (folder / params.PARAMS).is_file()
    project, run = (folder.parent, folder) if bare else (folder, folder / "run")

    def find(path: str) -> Path | None:
        place = run / Path(path).relative_to("run")
        return place if place.is_file() else None

    file, lock = project / params.PARAMS, project / LOCK
    values = params.read(file) if file.is_file() else None
    locked = _lock(lock.read_text(encoding="utf-8"), str(lock)) if lock.is_file() else None
    return _run(name, values, locked, find, "dvc repro or dvc pull")


def _of_commit(name: str, repo: "Repo") -> ComparedRun:
    from dvc.scm import RevError, resolve_rev

    try:
        commit = resolve_rev(repo.scm, name)
    except RevError:
        raise InputError(
            f"{name!r} is no folder with a run, and no experiment, commit, branch or tag; "
            f"{near.advice(name, [WORKSPACE, *_experiments(repo)])}"
        ) from None
    text, locked = git("show", f"{commit}:./{params.PARAMS}"), git("show", f"{commit}:./{LOCK}")
    values = None if text is None else _mapping(text, f"{name}: {params.PARAMS}")
    lock = Lock({}, {}) if locked is None else _lock(locked, f"{name}: {LOCK}")

    def find(path: str) -> Path | None:
        return _cached(path, lock.outs, repo)

    plain = git("rev-parse", "--verify", "--quiet", name) is not None
    remedy = "dvc fetch --all-commits" if plain else f"dvc exp pull origin {name}"
    return _run(name, values, lock, find, remedy)


def _cached(path: str, outs: Mapping[str, str], repo: "Repo") -> Path | None:
    """Find a file of a commit in DVC's cache, by the digest of itself or of the folder it is in."""

    def place(digest: str) -> Path:
        return Path(repo.cache.local.oid_to_path(digest))

    digest = outs.get(path)
    folder, _, file = path.rpartition("/")
    if digest is None and folder in outs and place(outs[folder]).is_file():
        entries = read_json(place(outs[folder]), list)
        digest = next((entry["md5"] for entry in entries if entry["relpath"] == file), None)
    return place(digest) if digest is not None and place(digest).is_file() else None


def _mapping(text: str, where: str) -> dict[str, Any]:
    try:
        values = YAML(typ="safe").load(text)
    except YAMLError as error:
        raise InputError(f"{where}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise InputError(f"{where}: expected a mapping, as DVC writes it")
    return values


def _lock(text: str, where: str) -> Lock:
    ran: dict[str, object] = {}
    try:
        stages = list((_mapping(text, where).get("stages") or {}).values())
        outs = {out["path"]: out["md5"] for stage in stages for out in stage.get("outs", [])}
        for stage in stages:
            ran |= stage.get("params", {}).get(str(params.PARAMS), {})
    except (AttributeError, KeyError, TypeError):
        raise InputError(
            f"{where}: stages is not as DVC writes it; expected outs with path and md5; "
            "git checkout dvc.lock, or dvc repro"
        ) from None
    return Lock(outs, ran)


def _run(
    name: str, values: Values | None, lock: Lock | None, find: Find, remedy: str
) -> ComparedRun:
    """Read what is compared of a run's last iteration; a file that is not here is no error."""
    notes = []
    last = f"run/{_last(name, values, find)}"
    summary = generations = None
    if values is None:
        notes.append(f"{name}: {params.PARAMS} is not beside it, so its values are not known")
    elif lock and (changed := _changed(values, lock.ran_with)):
        notes.append(
            f"{name}: {changed} is not what ran; dvc repro, or its numbers are the old ones"
        )
    if path := find(f"{last}/metrics/summary.json"):
        summary = _numbers(path)
    drawn = find(tables.GENERATIONS.path(Path(last, "eval")).as_posix())
    if drawn:
        try:
            generations = tables.read(drawn, tables.GENERATIONS)
        except InputError as error:
            notes.append(f"{name}: {last}/eval: {error}")
    if summary is None or drawn is None:
        notes.append(f"{name}: the results of {last} are not here; {remedy}")
    return ComparedRun(name, values, summary, generations, tuple(notes))


def _numbers(path: Path) -> Mapping[str, float]:
    values = read_json(path)
    try:
        numbers = {key: float(number) for key, number in values.items()}
        if wrong := next((key for key, value in numbers.items() if not math.isfinite(value)), None):
            raise ValueError(f"{wrong} is {numbers[wrong]}")
        return numbers
    except (TypeError, ValueError) as error:
        raise InputError(f"{path}: {error}; expected numbers; run dvc repro") from None


def _last(name: str, values: Values | None, find: Find) -> int:
    """Give the last iteration: of the parameters, else the last that has a summary."""
    if values is not None:
        try:
            return max(map(int, values["iterations"]))
        except (KeyError, TypeError, ValueError):
            raise InputError(
                f"{name}: {params.PARAMS} has no iterations; expected one at least, such as '1'; "
                "leave it out, or mend it"
            ) from None
    t = 0
    while find(f"run/{t + 1}/metrics/summary.json"):
        t += 1
    return t


def _changed(values: Values, ran_with: Mapping[str, object]) -> str:
    """Name a key whose value is another than the one stages ran with; empty if there is none."""
    for name, ran in ran_with.items():
        at: object = values
        for part in name.split("."):
            at = at.get(part) if isinstance(at, Mapping) else None
        if isinstance(at, Mapping) and isinstance(ran, Mapping):
            if inside := next((key for key in {**ran, **at} if at.get(key) != ran.get(key)), None):
                return f"{name}.{inside}"
        elif at != ran and not (at is None and name.startswith("iterations.")):
            return name
    return ""
