"""Progress bars with rate and time left; plain lines where nobody watches."""

import os
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tqdm import tqdm

if TYPE_CHECKING:
    from mutual_taught.generate import Draw

MANY_CUT = 1 / 3


def ignore(_: int) -> None:
    """Tell nobody of a count."""


def titled(what: str, name: str = "") -> str:
    """Name work by its stage: `duel@1 step-000016: answers`.

    Args:
        what: is made.
        name: of the work folder, such as `duel@1-step-000016`; else DVC says which stage it is.
    """
    stage, _, part = (name or os.environ.get("DVC_STAGE", "").rpartition(":")[2]).partition("-")
    head = f"{stage} {part}" if part and part != what else stage
    return f"{head}: {what}" if head else what


def say(what: str) -> None:
    """Print a line on what a stage of DVC's does now; of several processes only the first does."""
    if "DVC_STAGE" in os.environ and os.environ.get("LOCAL_RANK", "0") == "0":
        print(titled(what), file=sys.stderr, flush=True)


def bar(what: str, total: int | None, unit: str, done: int = 0) -> "tqdm[None]":
    """Open a progress bar on standard error.

    Args:
        what: name of the work.
        total: how many units there are; None if nobody knows.
        unit: one of them.
        done: how many were finished in an earlier run.
    """
    watched = sys.stderr.isatty()
    return tqdm(
        total=total, initial=done, desc=what, unit=f" {unit}", file=sys.stderr,
        ascii=None if watched else True,  # None: where the encoding has no blocks
        mininterval=0.2 if watched else 30.0, dynamic_ncols=watched, smoothing=0.1,
    )  # fmt: skip


class Tally:
    """Counts answers on a bar: tokens a second, how many the length limit cut."""

    def __init__(self, progress: "tqdm[None]", limit: int) -> None:
        self.progress, self.limit = progress, limit
        self.begun = time.monotonic()
        self.answers = self.cut = self.tokens = 0

    def earlier(self, reasons: Sequence[str]) -> None:
        """Count answers of an earlier run by why they ended."""
        self.answers += len(reasons)
        self.cut += sum(reason == "length" for reason in reasons)

    def add(self, draws: "Sequence[Draw]") -> None:
        """Count new answers."""
        self.earlier([draw.finish_reason for draw in draws])
        self.tokens += sum(len(draw.token_ids) for draw in draws)
        rate = self.tokens / max(time.monotonic() - self.begun, 1e-9)
        self.progress.set_postfix_str(
            f"{rate:,.0f} tokens/s, {self.cut / max(self.answers, 1):.0%} cut", refresh=False
        )
        self.progress.update(len(draws))

    def warn(self) -> None:
        """Say so if the length limit cut many answers: they have no end, and pairs learn that."""
        if self.answers and self.cut / self.answers > MANY_CUT:
            print(
                f"{self.progress.desc}: {self.cut / self.answers:.0%} of {self.answers} answers "
                f"were cut at {self.limit} tokens; raise max_new_tokens if they are to be whole",
                file=sys.stderr,
            )
