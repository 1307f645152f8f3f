"""A run that is interrupted: DVC and its stage end first, and the next run finds nothing amiss."""

import contextlib
import fcntl
import functools
import os
import pty
import shutil
import signal
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from dvc.repo import Repo
from ruamel.yaml import YAML

from mutual_taught.running import interrupt
from mutual_taught.running.interrupt import ended_by_signals
from tests import project

STAGE = """
import os, pathlib, signal, subprocess, sys, time
import click
from mutual_taught.errors import InputError
from stages._click import Stage, run

@click.command(cls=Stage)
def main():
    if pathlib.Path("deaf").exists():
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if pathlib.Path("bad").exists():
        raise InputError("prompts: expected better ones")
    if not pathlib.Path("go").exists():
        pathlib.Path("pid.tmp").write_text(str(os.getpid()))
        pathlib.Path("pid.tmp").rename("pid")
        time.sleep(120)
    subprocess.run(["python", "fake_stage.py", "prepare_prompts"], check=True)

run(main)
"""
LINE = "interrupted; run it again, it goes on with what is finished"
RUN = [sys.executable, "-m", "mutual_taught", "run", "--force", "prepare_prompts"]


@pytest.fixture(scope="module")
def repo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project of fake stages, whose first one waits."""
    repo = project.copy(tmp_path_factory.mktemp("interrupted") / "repo", "tiny", fake=True)
    (repo / "stage.py").write_text(STAGE)
    yaml = YAML()
    graph = yaml.load(repo / "dvc.yaml")
    graph["stages"]["prepare_prompts"]["cmd"] = "python stage.py"
    yaml.dump(graph, repo / "dvc.yaml")
    return repo


class TerminalRun:
    """A run on a terminal of its own, and its stage."""

    def __init__(self, repo: Path, deaf: bool = False) -> None:
        for name in ("pid", "go", "deaf"):
            (repo / name).unlink(missing_ok=True)
        if deaf:
            (repo / "deaf").touch()
        self.terminal, theirs = pty.openpty()
        settings = termios.tcgetattr(theirs)
        settings[3] &= ~termios.ECHO  # a ^C shown by the terminal falls between any two lines
        termios.tcsetattr(theirs, termios.TCSANOW, settings)
        self.process = subprocess.Popen(
            RUN,
            cwd=repo,
            env=project.ENVIRONMENT,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            preexec_fn=functools.partial(fcntl.ioctl, theirs, termios.TIOCSCTTY, 0),
        )
        os.close(theirs)
        while not (repo / "pid").exists():
            assert self.process.poll() is None, self.said()
            time.sleep(0.02)
        self.stage = psutil.Process(int((repo / "pid").read_text()))

    def type(self, signs: bytes) -> None:
        os.write(self.terminal, signs)

    def ended(self) -> int:
        """Wait for the run; nothing of it must be left then."""
        code = self.process.wait(120)
        assert not self.stage.is_running() or self.stage.status() == psutil.STATUS_ZOMBIE
        return code

    def said(self) -> list[str]:
        """Read all that was written to the terminal, once nobody has it open any more."""
        found = b""
        with contextlib.suppress(OSError):  # its other end is closed
            while part := os.read(self.terminal, 65536):
                found += part
        lines = found.decode().splitlines()
        return [line for line in lines if line != "\x1b[0m"]  # DVC's colorama, at the very end


@pytest.fixture
def started(repo: Path) -> Iterator[TerminalRun]:
    run = TerminalRun(repo)
    yield run
    run.process.kill()
    run.process.wait()
    os.close(run.terminal)


def again(repo: Path) -> None:
    """Run the stage at once, to its end."""
    (repo / "go").touch()
    done = subprocess.run(
        RUN, cwd=repo, env=project.ENVIRONMENT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "busy" not in done.stdout + done.stderr


def until(reached: Callable[[], bool]) -> None:
    for _ in range(3000):
        if reached():
            return
        time.sleep(0.02)
    raise AssertionError("it never came to that")


@pytest.mark.parametrize("age", [0.0, interrupt.YOUNG], ids=["at its start", "at work"])
def test_ctrl_c_ends_the_stage_and_dvc_before_the_run(
    repo: Path, started: TerminalRun, age: float
) -> None:
    time.sleep(age)
    old = time.time() - started.stage.create_time() > interrupt.YOUNG  # so on a busy machine
    started.type(b"\x03")
    assert started.ended() == 130
    said = started.said()
    assert said[-1] == LINE
    assert said.count("Aborted!") == old
    assert "Traceback" not in " ".join(said)
    again(repo)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_signal_to_the_run_alone_ends_stage_and_dvc_too(
    repo: Path, started: TerminalRun, number: signal.Signals
) -> None:
    started.process.send_signal(number)
    assert started.ended() == 128 + number
    assert started.said()[-1] == LINE
    again(repo)


def test_second_ctrl_c_kills_a_stage_that_does_not_end(repo: Path) -> None:
    run = TerminalRun(repo, deaf=True)
    run.type(b"\x03")
    time.sleep(interrupt.ONE_WISH + 0.2)
    assert run.stage.is_running()
    run.type(b"\x03")
    assert run.ended() == 130
    assert run.said()[-1] == LINE
    again(repo)


def test_stage_and_dvc_end_when_the_run_is_killed(repo: Path, started: TerminalRun) -> None:
    dvc = started.process.pid
    below = psutil.Process(dvc).children(recursive=True)
    started.process.kill()
    started.process.wait()
    _, alive = psutil.wait_procs(below, timeout=60)
    assert not alive
    again(repo)


def test_ctrl_z_stops_the_stage_and_it_goes_on_with_the_run(
    repo: Path, started: TerminalRun
) -> None:
    started.type(b"\x1a")
    until(lambda: started.stage.status() == psutil.STATUS_STOPPED)
    until(lambda: psutil.Process(started.process.pid).status() == psutil.STATUS_STOPPED)
    started.process.send_signal(signal.SIGCONT)
    until(lambda: started.stage.status() == psutil.STATUS_SLEEPING)
    started.type(b"\x03")
    assert started.ended() == 130


def idle() -> "subprocess.Popen[str]":
    """Start what ends well when it is interrupted, and wait until it can be."""
    waits = (
        "import time\ntry: print('begun', flush=True); time.sleep(600)\n"
        "except KeyboardInterrupt: exit(7)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", waits], process_group=0, text=True, stdout=subprocess.PIPE
    )
    assert process.stdout
    with process.stdout as said:
        assert said.readline() == "begun\n"
    return process


def test_dvc_that_runs_no_stage_is_interrupted_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may fetch for hours; but it is given time first, because it may be writing dvc.lock."""
    monkeypatch.setattr(interrupt, "PATIENCE", 1.0)
    begun = time.monotonic()
    with pytest.raises(interrupt.InterruptedRunError) as caught, ended_by_signals(idle) as dvc:
        os.kill(os.getpid(), signal.SIGTERM)
    assert (dvc.returncode, caught.value.code) == (7, 143)
    assert time.monotonic() - begun > 1.0
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert signal.set_wakeup_fd(-1) == -1


def test_signal_is_handled_though_the_main_thread_goes_on_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As one that comes just before it waits; here another thread receives it."""
    monkeypatch.setattr(interrupt, "PATIENCE", 0.2)

    def wait(dvc: "subprocess.Popen[str]") -> None:
        later = [
            threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGTERM)),
            threading.Timer(30, dvc.kill),
        ]
        for timer in later:
            timer.start()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        try:
            dvc.wait()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            later[1].cancel()

    with pytest.raises(interrupt.InterruptedRunError) as caught, ended_by_signals(idle) as dvc:
        wait(dvc)
    assert (dvc.returncode, caught.value.code) == (7, 143)


def test_signal_that_comes_while_dvc_is_started_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interrupt, "PATIENCE", 0.2)

    def start() -> "subprocess.Popen[str]":
        os.kill(os.getpid(), signal.SIGINT)
        dvc = idle()
        os.kill(os.getpid(), signal.SIGHUP)  # one wish
        return dvc

    with pytest.raises(interrupt.InterruptedRunError) as caught, ended_by_signals(start) as dvc:
        dvc.wait()
    assert (dvc.returncode, caught.value.code) == (7, 130)


def test_dvc_that_cannot_be_started_leaves_signals_as_they_were() -> None:
    def start() -> "subprocess.Popen[str]":
        raise OSError

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(OSError), ended_by_signals(start):  # noqa: PT011 - any
        pass
    assert signal.getsignal(signal.SIGINT) is before
    assert signal.set_wakeup_fd(-1) == -1


def test_without_a_thread_that_hears_signals_nothing_is_left_running(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    begun: list[subprocess.Popen[str]] = []

    def start() -> "subprocess.Popen[str]":
        begun.append(idle())
        return begun[0]

    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(threading.Thread, "start", full)
    with pytest.raises(RuntimeError, match="new thread"), ended_by_signals(start):
        pass
    assert begun[0].returncode == -signal.SIGKILL
    assert signal.getsignal(signal.SIGINT) is before


def test_signal_that_cannot_be_passed_on_makes_nobody_deaf(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As where no thread can be started any more; another signal still kills."""
    monkeypatch.setattr(interrupt, "ONE_WISH", 0.1)
    take = interrupt.Ending.receive

    def full(ending: interrupt.Ending, number: int) -> None:
        if ending.signal is not None:
            take(ending, number)
            return
        ending.signal, ending.since = number, time.monotonic()
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(interrupt.Ending, "receive", full)

    def twice() -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(interrupt.InterruptedRunError), ended_by_signals(idle) as dvc:
        twice()
    assert dvc.returncode == -signal.SIGKILL


def test_two_signals_at_once_are_one_wish_and_kill_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`timeout` sends two, to its child and to the group; a terminal that is closed does, too."""
    monkeypatch.setattr(interrupt, "PATIENCE", 0.5)

    def both() -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGHUP)

    with pytest.raises(interrupt.InterruptedRunError), ended_by_signals(idle) as dvc:
        both()
    assert dvc.returncode == 7  # not killed: it may be writing dvc.lock


def refused(repo: Path) -> list[str]:
    done = subprocess.run(
        RUN, cwd=repo, env=project.ENVIRONMENT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    return done.stderr.splitlines()


def test_stage_that_fails_is_named(repo: Path) -> None:
    (repo / "bad").touch()
    said = refused(repo)
    (repo / "bad").unlink()
    assert "Error: prompts: expected better ones" in said
    assert said[-1].startswith("Error: stage prepare_prompts failed, see above; mend it, then run")


def conflict(repo: Path) -> None:
    (repo / "dvc.lock").write_text("<<<<<<< HEAD\nschema: '2.0'\n=======\n")


def other_keys(repo: Path) -> None:
    text = (repo / "dvc.yaml").read_text()
    (repo / "dvc.yaml").write_text(text.replace("    outs:\n", "    puts:\n", 1))


def no_repository(repo: Path) -> None:
    (repo / ".dvc").rename(repo / ".not")


@pytest.mark.parametrize("fault", [conflict, other_keys, no_repository])
def test_failure_of_dvc_is_not_said_to_be_a_stages(
    repo: Path, tmp_path: Path, fault: Callable[[Path], None]
) -> None:
    broken = tmp_path / "repo"
    shutil.copytree(repo, broken)
    (broken / "go").touch()
    fault(broken)
    [line] = refused(broken)[-1:]
    assert line.startswith("Error: dvc")
    assert " failed, see above" not in line


def test_another_dvc_at_work_is_no_failed_stage(repo: Path) -> None:
    with Repo(str(repo)) as other, other.lock:
        said = refused(repo)
    assert any("Unable to acquire lock" in line for line in said)
    assert said[-1].startswith("Error: dvc repro: DVC stopped, and no stage failed; ")
