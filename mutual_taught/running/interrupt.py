"""Ctrl-C while DVC runs: its stage ends first, then DVC, then this process."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType

import psutil

from mutual_taught.errors import MutualTaughtError

PATIENCE = 3.0  # seconds until DVC itself is interrupted where no stage runs
YOUNG = 3.0  # seconds in which a stage imports: its SIGINT would be a traceback
POLL = 0.1
ONE_WISH = 1.0  # seconds in which signals are one: timeout(1) sends two, so does a closed terminal
MARK = "DVC_STAGE"  # DVC sets it for a stage and what that starts
HEARD = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGTSTP)
END = 0  # no signal's number
NOTICE = "interrupted; waiting for dvc and its stage to end (again: kill them)"


class InterruptedRunError(MutualTaughtError, RuntimeError):
    """A run was ended by a signal, on the user's wish."""

    def __init__(self, number: int) -> None:
        super().__init__("interrupted; run it again, it goes on with what is finished")
        self.code = 128 + number


class Ending:
    """Passes signals on to a DVC in a process group of its own, which no terminal reaches.

    The first signal interrupts the stage, not DVC: that could be writing dvc.lock, which it does
    not replace but overwrites. DVC then ends by itself as its stage has failed. Where no stage
    runs for a while it reads or fetches data, and is interrupted itself. Another signal a second or
    more after the first kills all. What is stopped and continued by the terminal (Ctrl-Z) takes the
    group with it.
    """

    def __init__(self, dvc: "subprocess.Popen[str]") -> None:
        self.dvc = dvc
        self.signal: int | None = None
        self.since = 0.0

    def receive(self, number: int) -> None:
        """Handle a signal: one that asks to stop for a while, or to end."""
        if number == signal.SIGTSTP:
            self._pause()
        elif self.signal is None:
            self.signal, self.since = number, time.monotonic()
            threading.Thread(target=self._interrupt, daemon=True).start()
        elif time.monotonic() - self.since > ONE_WISH:
            self._tell(signal.SIGKILL)

    def _pause(self) -> None:
        """Stop DVC's group and this process; both go on together."""
        self._tell(signal.SIGSTOP)
        signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)  # not one step further
        self._tell(signal.SIGCONT)

    def kill(self) -> None:
        """End DVC's group at once, and wait until it is gone."""
        self._tell(signal.SIGKILL)
        self.dvc.wait()

    def _tell(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.dvc.pid, number)

    def _interrupt(self) -> None:
        """Interrupt every process of a stage once, and new ones as they come, until DVC ends."""
        warned: set[psutil.Process] = set()
        begun, noted, asked = time.monotonic(), False, False
        while self.dvc.poll() is None:
            for process in set(_stages(self.dvc.pid)) - warned:
                warned.add(process)
                with contextlib.suppress(psutil.NoSuchProcess):
                    young = time.time() - process.create_time() < YOUNG
                    process.send_signal(signal.SIGTERM if young else signal.SIGINT)
            late = time.monotonic() - begun > PATIENCE
            if late and not warned and not asked:
                asked = True
                self.dvc.send_signal(signal.SIGINT)
            if late and not noted:
                noted = True
                with contextlib.suppress(OSError):  # the terminal was closed
                    print(NOTICE, file=sys.stderr, flush=True)
            time.sleep(POLL)


def _stages(pid: int) -> Iterator[psutil.Process]:
    """Find the processes below one that belong to a stage."""
    with contextlib.suppress(psutil.NoSuchProcess):
        for process in psutil.Process(pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                if MARK in process.environ():
                    yield process


@contextlib.contextmanager
def ended_by_signals(
    start: Callable[[], "subprocess.Popen[str]"],
) -> Iterator["subprocess.Popen[str]"]:
    """Start a DVC, pass signals on to it while it runs, and wait for it whatever happens here.

    A handler of Python's runs in the main thread, between two of its steps: a signal that comes
    just before that thread waits for DVC would be handled only after the wait. So a thread of its
    own reads them, from a socket where they wait while DVC is started. A signal that is ignored, as
    SIGHUP is under nohup, stays so.

    Args:
        start: starts DVC in a process group of its own.

    Raises:
        InterruptedRunError: a signal ended it.
    """
    theirs, ours = socket.socketpair()
    ours.setblocking(False)
    with theirs, ours, _written(ours):
        dvc = start()
        ending = Ending(dvc)
        listener = threading.Thread(target=_listen, args=(theirs, ending), daemon=True)
        try:
            listener.start()
        except (
            RuntimeError,
            MemoryError,
        ):
            ending.kill()  # without the thread nothing else would end what has begun
            raise
        try:
            yield dvc
        except BaseException:
            if ending.signal is None:  # else the terminal was closed, and its signal is at work
                ours.send(bytes([signal.SIGTERM]))  # nobody reads what it says any more
            raise
        finally:
            dvc.wait()
            ours.send(bytes([END]))  # after what came
            listener.join()
    if ending.signal is not None:
        raise InterruptedRunError(ending.signal)


def _listen(signals: socket.socket, ending: Ending) -> None:
    """Handle signals as they come."""
    while (number := signals.recv(1)[0]) != END:
        if number in HEARD:  # what is handled otherwise comes, too
            with contextlib.suppress(OSError, RuntimeError):  # the next one is heard all the same
                ending.receive(number)


@contextlib.contextmanager
def _written(place: socket.socket) -> Iterator[None]:
    """Let signals do no more than be written to a socket, a byte each."""
    found = {number: signal.getsignal(number) for number in HEARD}
    before = {number: kind for number, kind in found.items() if kind is not signal.SIG_IGN}
    wakeup = signal.set_wakeup_fd(place.fileno(), warn_on_full_buffer=False)
    for number in before:
        signal.signal(number, _nothing)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(wakeup)


def _nothing(_number: int, _frame: FrameType | None) -> None:
    """Leave a signal to who reads the socket."""
