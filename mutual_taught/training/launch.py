"""Trainings in several processes: a launcher starts them, the stage waits and says what failed."""

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO

import torch

from mutual_taught.artifacts.files import read_json, write_json
from mutual_taught.config.learning import Training
from mutual_taught.errors import InputError, MutualTaughtError, ShortageError, TrainingError
from mutual_taught.pipeline.watchdog import STARTED_BY, started_by, watch
from mutual_taught.terminal import process, shortage
from mutual_taught.training import jobs
from mutual_taught.training.jobs import TrainingJob
from mutual_taught.training.loop import Outcome, forget_state, newest_complete
from mutual_taught.training.settings import optimizer

FAILED = "failed.json"
DEFAULTS = {"PYTHONWARNINGS": "ignore::FutureWarning", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}
KINDS = {kind.__name__: kind for kind in (InputError, ShortageError, TrainingError)}


def train(job: TrainingJob, place: Path) -> Outcome:
    """Train in this process, or in those that `training.launcher` starts.

    Args:
        job: what to train.
        place: folder of the work in progress.

    Raises:
        InputError: what a process refused, or an optimiser that is not installed.
        TrainingError: a process stopped.
    """
    optimizer(job.recipe.training)  # refused before a model is loaded
    if not (place / jobs.OUTCOME).exists():  # else what took its results was interrupted
        if job.recipe.training.launcher == "single":
            jobs.write_outcome(jobs.train_here(job, place), place)
        else:
            _in_processes(job, place)
    forget_state(place)  # here, so that it goes as well if this was interrupted before
    return jobs.read_outcome(place)


def _in_processes(job: TrainingJob, place: Path) -> None:
    """Start the processes of a training and wait for what comes of it."""
    outcome, failed, training = place / jobs.OUTCOME, place / FAILED, job.recipe.training
    failed.unlink(missing_ok=True)
    jobs.write_job(job, place)
    newest_complete(place)  # deletes half-written ones, before several processes look for it
    threads = str(max(1, torch.get_num_threads() // training.processes))
    environment = {**DEFAULTS, "OMP_NUM_THREADS": threads, **os.environ}
    # A launcher that is killed leaves its processes; each watches this one, not the launcher.
    environment[STARTED_BY] = str(os.getpid())
    with subprocess.Popen(
        command(training, place), stderr=subprocess.PIPE, env=environment
    ) as launcher:
        try:
            assert launcher.stderr
            _pass_on(launcher.stderr, failed)
            code = launcher.wait()
        finally:
            launcher.terminate()
    if failed.exists():
        said = read_json(failed)
        raise KINDS.get(said["kind"], TrainingError)(said["message"])
    if code or not outcome.exists():
        raise TrainingError(
            f"{training.launcher}: training ended with code {code}; expected 0; see above, then "
            "dvc repro goes on from the last checkpoint"
        )


def command(training: Training, place: Path) -> list[str]:
    """Give the command that starts a training's processes.

    Raises:
        InputError: there is no such file of settings.
    """
    count, worker = str(training.processes), ["-m", "mutual_taught.training.launch", str(place)]
    if training.launcher == "torchrun":
        options = ["--standalone", "--nproc_per_node", count]
        return [sys.executable, "-m", "torch.distributed.run", *options, *worker]
    path = Path(str(training.accelerate_config))
    if not path.is_file():
        raise InputError(
            f"training.accelerate_config is '{path}'; there is no such file; expected one such as "
            "those of presets/accelerate"
        )
    options = ["--config_file", str(path), "--num_processes", count]
    return [sys.executable, "-m", "accelerate.commands.launch", *options, *worker]


def _pass_on(said: IO[bytes], failed: Path) -> None:
    """Show what the processes say, until one fails with a reason: the rest is the launcher's."""
    while piece := os.read(said.fileno(), 1 << 16):
        if not failed.exists():
            sys.stderr.buffer.write(piece)
            sys.stderr.flush()


def main(place: Path) -> None:
    """Be one of the processes of a training; the first writes what comes of it."""
    process.begin()
    dvc = started_by()
    try:
        with shortage.as_ours(f"a process of {process.stage() or 'this training'}"):
            threading.Thread(target=watch, args=(dvc,), daemon=True).start()
            if torch.cuda.is_available():
                torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
            outcome = jobs.train_here(jobs.read_job(place), place)
    except MutualTaughtError as error:
        write_json(place / FAILED, {"kind": type(error).__name__, "message": str(error)})
        os._exit(1)  # others may wait for this one; the launcher stops them
    if os.environ["RANK"] == "0":
        jobs.write_outcome(outcome, place)
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
    # The result is written. Threads of DeepSpeed's collectives abort some processes that end
    # ("terminate called without an active exception"). A tracker, though, sends its last at exit.
    if not os.environ.get("MUTUAL_TAUGHT_REPORT_TO"):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)
