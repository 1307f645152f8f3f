"""Running the pipeline under DVC."""

import os
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

from mutual_taught.errors import InputError, TrainingError
from mutual_taught.pipeline import taken
from mutual_taught.pipeline.watchdog import STARTED_BY
from mutual_taught.planning import graph, plan, plan_text, schedule
from mutual_taught.planning.stale import Flags
from mutual_taught.running.interrupt import ended_by_signals
from mutual_taught.terminal import near, process, shortage

UP_TO_DATE = "Data and pipelines are up to date."
RUNNING, SAVED = "Running stage '", "Updating lock file"
OPTIONS = {"force": "--force", "single": "--single-item", "pull": "--pull"}
AGAIN = "mend it, then run again: it goes on with what is finished"


def stages() -> dict[str, tuple[str, ...]]:
    """Name what can be run, and what each makes: `dpo` stands for dpo@1, dpo@2 and so on.

    Raises:
        InputError: params.yaml is not in order, or dvc.yaml has no stages that can be read.
    """
    nodes = graph.read()
    groups = {node.name.split("@")[0] for node in nodes if "@" in node.name}
    return {**{node.name: node.outs for node in nodes}, **dict.fromkeys(sorted(groups), ())}


def require_stages(targets: Sequence[str]) -> None:
    """Refuse what is no stage before DVC is started.

    Raises:
        InputError: naming the stage that makes a path, else the stages there are.
    """
    known = stages() if targets else {}
    for target in targets:
        if target in known:
            continue
        path = f"{os.path.normpath(target)}/"
        makers = [
            name for name, outs in known.items() if any(path.startswith(f"{out}/") for out in outs)
        ]
        if makers:
            raise InputError(
                f"{target!r} is a path; expected a stage; say {makers[0]}, which makes it"
            )
        whole = [name for name in known if "@" not in name]
        raise InputError(f"stage {target!r} does not exist; {near.advice(target, known, whole)}")


def planned(targets: Sequence[str], flags: Flags) -> Path:
    """Plan a run, say how long it takes and what may not fit, and note it for its stages.

    Returns:
        The file of the run: see `schedule`.
    """
    made = plan.make(targets, flags=flags)
    if made.running():
        process.say(next(plan_text.lines(made)))
    for fault in made.faults:
        process.say(f"note: {fault}")
    return schedule.create(made.running(), os.getpid())


def repro(targets: Sequence[str], flags: Flags, run: Path) -> bool:
    """Run `dvc repro`, passing its output on.

    Stages end when this process is gone, even if it was killed. DVC does not read the terminal: its
    process group is not the terminal's, which would stop it.

    Args:
        targets: stages to be made with all before them; none for all stages.
        flags: of `dvc repro`.
        run: the file of the run, from `planned`.

    Returns:
        Whether any stage ran.

    Raises:
        TrainingError: a stage failed, whose own line says why; or DVC did, and no stage.
        InterruptedRunError: the user ended it.
    """
    signs = sys.stdout.encoding or "utf-8"
    environment = {
        "PATH": _path(),
        "PYTHONIOENCODING": f"{signs}:backslashreplace",
        STARTED_BY: str(os.getpid()),
        schedule.SCHEDULE: str(run.resolve()),
    }
    options = [OPTIONS[name] for name, wanted in flags._asdict().items() if wanted]
    start = partial(
        subprocess.Popen,
        [sys.executable, "-m", "dvc", "repro", *options, *targets],
        process_group=0,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        encoding=signs,
        errors="replace",
        env={**os.environ, **environment},
    )
    kills, lines = shortage.kills(), list[str]()
    with ended_by_signals(start) as dvc:
        for line in _shown(dvc):
            lines.append(line)
            if line.startswith(RUNNING):
                kills = shortage.kills()
    taken.sweep()
    if dvc.returncode != 0:
        failed = at_work(lines)
        raise TrainingError(
            f"stage {failed} failed, see above{_memory(failed, shortage.kills() - kills)}; {AGAIN}"
            if failed
            else f"dvc repro: DVC stopped, and no stage failed; see its line above; {AGAIN}"
        )
    return UP_TO_DATE not in lines


def _memory(stage: str, kills: int) -> str:
    """Say that the system killed for memory, which a stage that is killed cannot say itself."""
    if not kills:
        return ""
    return (
        f"; if nothing is said above, it was killed: memory ran out meanwhile ({kills} killed); "
        f"stop what else uses it{shortage.advice(stage)}"
    )


def _path() -> str:
    """Put this interpreter's folder first on the path: stages start `python`."""
    return os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])


def _shown(dvc: "subprocess.Popen[str]") -> Iterator[str]:
    assert dvc.stdout is not None
    for line in dvc.stdout:
        print(line, end="", flush=True)
        yield line.strip()


def at_work(lines: Iterable[str]) -> str | None:
    """Name the stage that DVC was running when it ended, by what it printed; None if none."""
    stage = None
    for line in lines:
        if line.startswith(RUNNING):
            stage = line.removeprefix(RUNNING).partition("'")[0]
        elif line.startswith(SAVED):
            stage = None
    return stage


def dvc(arguments: Sequence[str]) -> int:
    """Run a command of DVC on this terminal, to its end, and give its exit code.

    Raises:
        InterruptedRunError: the user ended it, and the stage it ran.
    """
    start = partial(
        subprocess.Popen,
        [sys.executable, "-m", "dvc", *arguments],
        process_group=0,
        text=True,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "PATH": _path()},
    )
    with ended_by_signals(start) as running:
        code = running.wait()
    return code if code >= 0 else 128 - code  # as a shell says that a signal killed it
