"""A judge's replies on disk, each as soon as it is there: nothing is paid for twice."""

import fcntl
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import IO, Any

from mutual_taught.artifacts.files import digest
from mutual_taught.errors import InputError
from mutual_taught.evaluation.judges.reply import Reply
from mutual_taught.pipeline import work
from mutual_taught.terminal.signs import excerpt


class Store:
    """Replies by the key of their request: a line of JSON each, appended."""

    def __init__(self, file: IO[bytes], replies: dict[str, Reply]) -> None:
        self._file, self._lock = file, Lock()
        self.replies = replies

    def add(self, key: str, reply: Reply) -> None:
        """Keep a reply; it is in the file when this returns."""
        line = json.dumps({"key": key, **reply._asdict()}, ensure_ascii=True, allow_nan=False)
        with self._lock:
            self._file.write(f"{line}\n".encode())
            self._file.flush()
            self.replies[key] = reply


def place(model: str) -> Path:
    """Say where the stages keep what a model said, whatever it was asked."""
    return work.root() / "verdicts" / f"{digest(model)[:16]}.jsonl"


@contextmanager
def opened(path: Path) -> Iterator[Store]:
    """Lend the store in a file, which one process has at a time; another waits.

    A last line without its end is that of a killed run: it is cut off, and asked again.

    Raises:
        InputError: another line is no reply.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"{path}: waits for another run that asks a judge", file=sys.stderr, flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        whole = file.read()
        end = whole.rfind(b"\n") + 1
        if end < len(whole):
            print(f"{path}: a half-written last line is cut off", file=sys.stderr, flush=True)
            os.ftruncate(file.fileno(), end)
        yield Store(file, _replies(path, whole[:end]))


def _replies(path: Path, whole: bytes) -> dict[str, Reply]:
    found = {}
    for number, line in enumerate(whole.split(b"\n")[:-1], 1):
        try:
            key, reply = _reply(json.loads(line))
        except (ValueError, KeyError, TypeError, RecursionError):
            shown = excerpt(line.decode(errors="replace"))
            raise InputError(
                f"{path}: line {number} is {shown!r}; expected a verdict with key, text, logprobs "
                "and tokens, as mutual-taught writes it; delete this line, and it is asked again"
            ) from None
        found[key] = reply
    return found


def _reply(row: dict[str, Any]) -> tuple[str, Reply]:
    """Read a line.

    Raises:
        ValueError, KeyError, TypeError: it is no reply.
    """
    logprobs = row["logprobs"]
    if logprobs is not None:
        logprobs = {str(token): float(value) for token, value in logprobs.items()}
    key, text = row["key"], row["text"]
    if not (isinstance(key, str) and isinstance(text, str)) or (
        logprobs and not all(value <= 0 for value in logprobs.values())
    ):
        raise ValueError
    return key, Reply(text, logprobs, int(row["prompt_tokens"]), int(row["completion_tokens"]))
