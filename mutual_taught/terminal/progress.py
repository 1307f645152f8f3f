"""Progress bars with rate and time left, named by their stage; lines where nobody watches."""

import os
import sys
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from tqdm import tqdm

from mutual_taught.terminal import process, signs

if TYPE_CHECKING:
    pass

MANY_CUT = 1 / 3
COLUMNS, ROWS = 79, 24
SHORT = 1.0  # seconds; what takes less needs no bar
SELDOM = 30.0  # seconds from a line to the next
Counted = Callable[[int], object]
T = TypeVar("T")


def ignore(_: object) -> None:
    """Tell nobody."""


class _Lines:
    """Standard error where nobody watches: what would replace a line is a line of its own."""

    def write(self, text: str) -> None:
        if line := text.strip():
            print(line, file=sys.stderr)

    def flush(self) -> None:
        sys.stderr.flush()


def bar(
    what: str, total: int | None, unit: str, done: int = 0, lasting: bool = True
) -> "tqdm[None]":
    """Open a progress bar on standard error.

    The rate is that of all since it was opened: of late only it would be too high where some
    refreshes find nothing new.

    Args:
        what: is counted; the name of the stage is put before it.
        total: how many units there are; None if nobody knows.
        unit: one of them.
        done: how many were finished in an earlier run.
        lasting: whether it stays when it is full; one that does not is never seen if that is soon.
    """
    watched = sys.stderr.isatty()
    often, size = 0.2 if watched else SELDOM, _size()
    return tqdm(
        total=total,
        initial=done,
        desc=named(what),
        unit=f" {unit}",
        file=sys.stderr if watched else _Lines(),
        dynamic_ncols=watched and size is None,
        ncols=size,
        nrows=size and ROWS,
        ascii=None if watched else True,  # None: where the encoding has no blocks
        mininterval=often,
        miniters=0,
        smoothing=0,
        disable=not _first(),
        leave=lasting,
        delay=0 if lasting else max(SHORT, often),
    )


def _size() -> int | None:
    """Give the columns of a terminal that does not know its own: tqdm would show nothing there."""
    if sys.stderr.isatty() and 0 in os.get_terminal_size(sys.stderr.fileno()):
        return COLUMNS
    return None


def each(what: str, things: Collection[T], unit: str) -> Iterator[T]:
    """Give one thing after the other, with a bar that is seen if it takes more than a moment."""
    with bar(what, len(things), unit, lasting=False) as progress:
        for thing in things:
            yield thing
            progress.update()


def line(what: str) -> None:
    """Say what is being done that has no steps to count."""
    if _first():
        print(named(what), file=sys.stderr, flush=True)


def _first() -> bool:
    """Say whether this process speaks for all of a training, or is the only one."""
    return os.environ.get("LOCAL_RANK", "0") == "0"


def named(what: str) -> str:
    """Put the name of the stage, if DVC runs one, before what it does."""
    stage = process.stage()
    text = signs.visible(what if stage is None else f"{stage}: {what}")
    return signs.fit(text, sys.stderr.encoding)


def title(work: str, whole: str) -> str:
    """Name a bar by the part of the stage that a work folder is of: "step-000016".

    Args:
        work: name of the work folder, such as `duel@1-step-000016`.
        whole: name of the bar where that is of the whole stage.
    """
    return work.partition("-")[2] or whole


class Moved(NamedTuple):
    """How far sampling came: tokens drawn, responses that ended, those of them that were cut."""

    tokens: int
    ended: int
    cut: int


class Tally:
    """Counts responses on a bar: tokens a second, how many the length limit cut."""

    def __init__(self, progress: "tqdm[None]", limit: int) -> None:
        self.progress, self.limit = progress, limit
        self.begun = time.monotonic()
        self.responses = self.cut = self.tokens = 0

    def earlier(self, reasons: Sequence[str]) -> None:
        """Count responses of an earlier run by why they ended."""
        self.responses += len(reasons)
        self.cut += sum(reason == "length" for reason in reasons)

    def add(self, new: Moved) -> None:
        """Count what is new."""
        self.responses, self.cut = self.responses + new.ended, self.cut + new.cut
        self.tokens += new.tokens
        rate = self.tokens / max(time.monotonic() - self.begun, 1e-9)
        shown = f"{self.tokens:,} tokens, {rate:,.0f}/s"
        if self.responses:
            shown += f", {self.cut / self.responses:.0%} cut"
        self.progress.set_postfix_str(shown, refresh=False)
        self.progress.update(new.ended)

    def warn(self) -> None:
        """Say so if the length limit cut many responses: they have no end, and pairs learn that."""
        if self.responses and self.cut / self.responses > MANY_CUT:
            print(
                f"{self.progress.desc}: {self.cut / self.responses:.0%} of {self.responses} "
                f"were cut at {self.limit} tokens; raise max_new_tokens if they are to be whole",
                file=sys.stderr,
            )
