"""Running the pipeline under DVC."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from mutual_taught import plan, plan_text, process, schedule
from mutual_taught.errors import TrainingError

UP_TO_DATE = "Data and pipelines are up to date."


def planned(targets: Sequence[str]) -> Path:
    """Plan a run, say how long it takes and what may not fit, and note it for its stages.

    Returns:
        The file of the run: see `schedule`.

    Raises:
        InputError: there is no such stage.
    """
    made = plan.make(targets)
    process.say(next(plan_text.lines(made)))
    for fault in made.faults:
        process.say(f"note: {fault}")
    return schedule.create(made.running(), os.getpid())


def repro(targets: Sequence[str], run: Path | None = None) -> bool:
    """Run `dvc repro`, passing its output on.

    Stages start `python`, so this interpreter's folder comes first on the path.

    Args:
        targets: stages to be made with all before them; none for all stages.
        run: the file of the run, from `planned`.

    Returns:
        Whether any stage ran.

    Raises:
        TrainingError: a stage failed; its own line says why.
    """
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    signs = sys.stdout.encoding or "utf-8"
    told = {"PATH": path, "PYTHONIOENCODING": f"{signs}:backslashreplace"}
    if run:
        told[schedule.SCHEDULE] = str(run.resolve())
    running = subprocess.Popen(
        [sys.executable, "-m", "dvc", "repro", *targets],
        stdout=subprocess.PIPE, encoding=signs, errors="replace", env={**os.environ, **told},
    )  # fmt: skip
    assert running.stdout is not None
    ran = True
    for line in running.stdout:
        ran = ran and line.strip() != UP_TO_DATE
        print(line, end="", flush=True)
    if running.wait() != 0:
        raise TrainingError("dvc repro: a stage failed, see above; mend it, then run again")
    return ran
