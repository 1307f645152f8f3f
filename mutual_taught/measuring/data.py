"""The files of a benchmark: the user's own, or those that the hub has at a commit."""

import os
import re
import socket
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from mutual_taught.errors import InputError, MissingFileError, first_line
from mutual_taught.evaluation import benchmarks
from mutual_taught.evaluation.benchmarks.base import Hub
from mutual_taught.evaluation.benchmarks.formats import SUFFIXES, within
from mutual_taught.pipeline import work

OWN = Path("benchmarks")  # of a project, with a folder for each benchmark
ADDRESS, PORTS = "https://huggingface.co", {"https": 443, "http": 80}
COMMIT = re.compile(r"[0-9a-f]{40}")
PATIENCE = 1.5  # seconds until a hub that does not answer counts as out of reach


def files(name: str, data: Path | None, revision: str | None) -> list[Path]:
    """Locate a benchmark's files; what is fetched stays in .work/benchmarks.

    Args:
        name: of the benchmark.
        data: a file, or a folder whose files are taken in order of their names, those of folders
            within it, too; None: the folder benchmarks/NAME if it is there, else the hub.
        revision: commit of the hub's data set, where the benchmark has none or another is wanted.

    Raises:
        MissingFileError: what `data` names is not there, or holds no file of a known format.
        InputError: there is neither `data` nor a place on the hub; `revision` is no commit; or the
            hub cannot be had.
    """
    module = benchmarks.module(name)
    if data is None and revision is None and (OWN / name).is_dir():
        data = OWN / name
    if data is not None:
        return _given(data, module.EXPECTED)
    if module.HUB is None:
        raise InputError(
            f"benchmark {name!r} has no data of its own; expected --data with a file: "
            f"{module.EXPECTED}"
        )
    if revision is not None and not COMMIT.fullmatch(revision):
        raise InputError(
            f"--revision is {revision!r}; expected a commit of {module.HUB.dataset}, 40 hex "
            "digits, because what another name stands for moves"
        )
    commit = revision or module.HUB.revision
    bring = (
        f"or bring {', '.join(module.HUB.files)} of data set {module.HUB.dataset}, and name it "
        f"with --data"
    )
    if commit is None:
        raise InputError(
            f"benchmark {name!r}: no commit of {module.HUB.dataset} is known here; expected "
            f"--revision with the one to measure on; {bring}"
        )
    return _fetched(name, module.HUB, commit, bring)


def require_own(names: Sequence[str]) -> None:
    """Refuse benchmarks of params.yaml that there are none of, or whose files are not here.

    Raises:
        InputError: a name is unknown.
        MissingFileError: a benchmark has no file in benchmarks/NAME.
    """
    for name in names:
        entry = benchmarks.entry(name)
        if not (OWN / name).is_dir():
            raise MissingFileError(
                f"params.yaml: benchmarks names {name!r} ({entry.summary}), and {OWN / name} is "
                "not here; expected a folder with its files; bring them, or take the name out"
            )


def _given(data: Path, expected: str) -> list[Path]:
    if not data.exists():
        raise MissingFileError(f"{data} does not exist; expected {expected}")
    if not data.is_dir():
        return [data]
    found = within(data)
    if not found:
        raise MissingFileError(
            f"{data}: holds no file that ends in {', '.join(SUFFIXES)}; expected {expected}"
        )
    return found


def _fetched(name: str, hub: Hub, commit: str, bring: str) -> list[Path]:
    """Have the files of a commit, from an earlier time or from the hub."""
    folder = work.root() / "benchmarks" / name / commit
    if not (found := _matching(folder, hub.files)):
        _require_hub(f"data set {hub.dataset!r} at {commit}", bring)
        from huggingface_hub import snapshot_download

        try:
            snapshot_download(
                hub.dataset,
                repo_type="dataset",
                revision=commit,
                allow_patterns=list(hub.files),
                local_dir=folder,
            )
        except Exception as error:  # the hub's client raises many kinds, all of them the user's
            raise InputError(
                f"data set {hub.dataset!r} at {commit}: {first_line(error)}; expected it on the "
                f"hub; check id, access and network, {bring}"
            ) from None
        found = _matching(folder, hub.files)
    if not found:
        raise InputError(
            f"data set {hub.dataset!r} at {commit}: has no file {', '.join(hub.files)}; expected "
            f"the published ones; name another --revision, {bring}"
        )
    return found


def _matching(folder: Path, patterns: Sequence[str]) -> list[Path]:
    return [path for pattern in patterns for path in sorted(folder.glob(pattern))]


def _require_hub(what: str, bring: str) -> None:
    """Refuse at once where the hub is out of reach: its client would try for a minute.

    Behind a proxy nothing can be said before it is asked.
    """
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "TRUE", "YES", "ON"):
        raise InputError(f"{what}: HF_HUB_OFFLINE is set; expected the hub; unset it, {bring}")
    if any(name.lower() in ("https_proxy", "http_proxy", "all_proxy") for name in os.environ):
        return
    address = urlsplit(os.environ.get("HF_ENDPOINT", ADDRESS))
    port = address.port or PORTS.get(address.scheme, 443)
    try:
        socket.create_connection((address.hostname or "", port), PATIENCE).close()
    except OSError as error:
        raise InputError(
            f"{what}: {address.hostname} cannot be reached ({first_line(error)}); expected the "
            f"hub; check the network, {bring}"
        ) from None
