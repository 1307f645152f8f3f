"""The models of an iteration as plain folders of Hugging Face, each with a card."""

import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mutual_taught.artifacts.files import read_json, write_json
from mutual_taught.artifacts.manifests import Manifest, require_whole
from mutual_taught.config import params
from mutual_taught.errors import InputError, MissingFileError
from mutual_taught.keeping import model_card
from mutual_taught.reading import run_state
from mutual_taught.report import markdown, summary

KINDS = ("policy", "reward_model")
PROVENANCE = "mutual_taught.json"


def export(run: Path, iteration: str | None, target: Path, kinds: tuple[str, ...]) -> list[Path]:
    """Copy an iteration's models, whole or not at all.

    The copies share no bytes with the run: they may be edited. Every file is compared with its
    digest first.

    Args:
        run: folder of the run.
        iteration: t; None for the last one.
        target: the new folder.
        kinds: `policy`, `reward_model`, or both.

    Returns:
        The folders that were made.

    Raises:
        InputError: there is no such iteration, or `target` holds something.
        MissingFileError: a model is not there.
    """
    key = _iteration(run, iteration)
    free = not target.exists() or (target.is_dir() and not any(target.iterdir()))
    if target.is_symlink() or not free:
        raise InputError(f"{target} exists; expected a new or an empty folder; choose another one")
    made = _made(run, key)
    whole = {kind: _named(require_whole(run / key / kind), made) for kind in kinds}
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
    try:
        temporary.chmod(0o755)
        for kind, manifest in whole.items():
            _copy(run / key / kind, temporary / kind, manifest, made)
        temporary.replace(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return [target / kind for kind in kinds]


def _iteration(run: Path, asked: str | None) -> str:
    there = [key for key in run_state.expected(run) if (run / key).is_dir()]
    if not there:
        raise MissingFileError(f"{run}: holds no iteration; run dvc repro, or dvc pull")
    if asked is not None and asked not in there:
        raise InputError(f"{run}: has no iteration {asked!r}; expected one of {', '.join(there)}")
    return asked or there[-1]


def _made(run: Path, key: str) -> model_card.Made:
    """Collect what the cards tell."""
    past = [one for one in run_state.present(run) if int(one) <= int(key)]
    history: list[dict[str, Any]] = [
        {"iteration": int(one), "metrics": markdown.read_metrics(run / one / "metrics")}
        for one in past
    ]
    path = run.parent / params.PARAMS
    values = params.validate(params.read(path), path).model_dump(mode="json")
    return model_card.Made(
        key,
        summary.final_iteration(history),
        history[-1]["metrics"],
        _shareable(values),
        _commit(run.parent),
    )


def _shareable(values: dict[str, Any]) -> dict[str, Any]:
    """Leave out where models lie on this machine: of a folder only its name is kept."""
    for model in values["models"].values():
        if model["source"] == "path":
            model["path"] = Path(model["path"]).name
    return values


def _commit(project: Path) -> str | None:
    """Name a project's commit, if it is under git and git is there."""
    try:
        done = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=project, capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _named(manifest: Manifest, made: model_card.Made) -> Manifest:
    """Call a base that came from a folder by the folder's name."""
    from_folder = made.params["models"][manifest.kind]["source"] == "path"
    return manifest._replace(base=Path(manifest.base).name) if from_folder else manifest


def _copy(source: Path, target: Path, manifest: Manifest, made: model_card.Made) -> None:
    for name in manifest.files:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / name, target / name)
    if manifest.kind == "policy":
        _advise(target / "generation_config.json", made.params["eval"])
    write_json(target / PROVENANCE, {"digest": manifest.digest, **manifest._asdict()})
    came = model_card.source(manifest, made.params)
    model_card.write(target, model_card.card(manifest, came, made))


def _advise(path: Path, decoding: Mapping[str, Any]) -> None:
    """Tell those who generate how the run's evaluation drew its responses."""
    settings = read_json(path) if path.exists() else {}
    drawn = {name: decoding[name] for name in ("temperature", "top_p", "max_new_tokens")}
    write_json(path, {**settings, "do_sample": True, **drawn})
