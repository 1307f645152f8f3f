"""Running the pipeline under DVC."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from mutual_taught.errors import TrainingError

UP_TO_DATE = "Data and pipelines are up to date."


def repro(targets: Sequence[str]) -> bool:
    """Run `dvc repro`, passing its output on.

    Stages start `python`, so this interpreter's folder comes first on the path.

    Returns:
        Whether any stage ran.

    Raises:
        TrainingError: a stage failed; its own line says why.
    """
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    signs = sys.stdout.encoding or "utf-8"
    told = {"PATH": path, "PYTHONIOENCODING": f"{signs}:backslashreplace"}
    process = subprocess.Popen(
        [sys.executable, "-m", "dvc", "repro", *targets],
        stdout=subprocess.PIPE, encoding=signs, errors="replace", env={**os.environ, **told},
    )  # fmt: skip
    assert process.stdout is not None
    ran = True
    for line in process.stdout:
        ran = ran and line.strip() != UP_TO_DATE
        print(line, end="", flush=True)
    if process.wait() != 0:
        raise TrainingError("dvc repro: a stage failed, see above; mend it, then run again")
    return ran
