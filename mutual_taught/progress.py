"""Progress bars with rate and time left; plain lines where nobody watches."""

import sys

from tqdm import tqdm


def bar(what: str, total: int, unit: str, done: int = 0) -> "tqdm[None]":
    """Open a progress bar on standard error.

    Args:
        what: name of the work.
        total: how many units there are.
        unit: one of them.
        done: how many were finished in an earlier run.
    """
    watched = sys.stderr.isatty()
    return tqdm(
        total=total, initial=done, desc=what, unit=f" {unit}", file=sys.stderr, ascii=not watched,
        mininterval=0.2 if watched else 30.0, dynamic_ncols=watched, smoothing=0.1,
    )  # fmt: skip
