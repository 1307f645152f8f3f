"""What doctor sees of the machine: does the preset fit it, and is what it wants installed?"""

import importlib.util
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from mutual_taught.checks.check import Check
from mutual_taught.config.blocks import Params
from mutual_taught.errors import MutualTaughtError
from mutual_taught.planning import fits, machine, needs, plan, stale
from mutual_taught.planning.machine import GB, Machine
from mutual_taught.planning.needs import Shapes
from mutual_taught.planning.workload import Work

EXTRAS = {
    "engine.name vllm": ("vllm", "vllm"),
    "engine.workers ray": ("ray", "ray"),
    "training.optimizer adamw_8bit": ("bitsandbytes", "bitsandbytes"),
    "training.accelerate_config zero3": ("deepspeed", "deepspeed"),
}  # a setting, the module that it needs, the extra of this package that installs it


class Note(NamedTuple):
    """What was looked at, what was found, and what to do; a run goes on without it."""

    name: str
    found: str
    advice: str


def checks(values: Params) -> Iterator[Check | Note]:
    """Compare the values of params.yaml with the machine."""
    yield from installed(values)
    there = machine.here()
    settled = plan.settled(values, "bfloat16" if there.devices else None)
    notes: list[str] = []
    try:
        todo = stale.find()
    except MutualTaughtError as error:
        yield Note("memory and disk", "not compared", str(error))
        return
    models, works = plan.sizes(settled, todo, notes), plan.count(settled, todo, notes)
    for note in notes:
        yield Note("memory and disk", "not compared", note)
    if models and works:
        yield from fit(settled, models, works, there)


def fit(
    values: Params, models: Shapes, works: Mapping[str, Work], there: Machine
) -> Iterator[Check]:
    """Compare what a whole run needs with devices, memory and disk, as `plan` does."""
    gpus = bool(there.devices)
    wanted = {
        stage: need for stage in works if (need := needs.of_stage(stage, values, models, gpus))
    }
    disk = {t: needs.disk(values, models, works, t) for t in ("0", *values.iterations)}
    host = needs.host(values, models) if gpus else {}
    stage, most = max(wanted.items(), key=lambda item: item[1].total)
    room = needs.disk_of_run(disk)
    found = {
        "memory": f"{stage} needs up to {most.total / GB:.1f} GB of {there.device_memory / GB:.1f}",
        "disk": f"{(there.disk or 0) / GB:.1f} GB free, a whole run needs {room / GB:.1f}",
    }
    faults = fits.faults(there, values, wanted, disk, host)
    for name, state in found.items():
        own = [fault for fault in faults if fault.startswith("disk: ") == (name == "disk")]
        parts = [fault.removeprefix("disk: ").partition("; ") for fault in own]
        yield from (Check(_name(head, name), head, advice) for head, _, advice in parts)
        if not own:
            yield Check(name, state, "")


def _name(found: str, name: str) -> str:
    return "GPUs" if found.startswith("params.yaml: ") else name


def installed(values: Params) -> Iterator[Check]:
    """Look for the packages that some settings need."""
    settings = {
        f"engine.name {values.engine.name}",
        f"engine.workers {values.engine.workers}",
        f"training.optimizer {values.training.optimizer}",
    }
    if "zero3" in str(values.training.accelerate_config):
        settings.add("training.accelerate_config zero3")
    for setting, (module, extra) in EXTRAS.items():
        if setting in settings:
            here = importlib.util.find_spec(module) is not None
            yield Check(
                setting,
                f"{module} is {'' if here else 'not '}installed",
                "" if here else f'expected it; pip install -e ".[{extra}]"',
            )


def tools() -> Iterator[Check | Note]:
    """Look at git and DVC: `dvc repro` needs a repository, `dvc exp run` a commit and an author."""
    if shutil.which("git") is None:
        yield Check("git", "not installed", "expected git; install it")
        return
    inside = _git("rev-parse", "--is-inside-work-tree") is not None
    yield Check(
        "git",
        "a repository" if inside else "no repository here",
        "" if inside else "expected one; git clone the project, or git init",
    )
    if not inside:
        return
    commit = _git("rev-parse", "--verify", "-q", "HEAD") is not None
    author = _git("var", "GIT_AUTHOR_IDENT") is not None
    state = f"{'a' if commit else 'no'} commit, {'an' if author else 'no'} author"
    lacks = ["git config user.name and user.email"] * (not author) + ["git commit"] * (not commit)
    if lacks:
        yield Note("git", state, f"dvc exp run needs both; {', then '.join(lacks)}")
    else:
        yield Check("git", state, "")
    dvc = Path(".dvc").is_dir()
    fault = "" if dvc else "expected .dvc; run in the project's folder, or dvc init"
    yield Check("dvc", "set up here" if dvc else "not set up here", fault)


def _git(*words: str) -> str | None:
    """Run git; None if it refuses."""
    done = subprocess.run(["git", *words], capture_output=True, text=True, check=False)
    return done.stdout if done.returncode == 0 else None
