"""What to say of a name that does not exist: the names there are, and the nearest."""

import difflib
from collections.abc import Iterable


def advice(name: str, known: Iterable[str], shown: Iterable[str] | None = None) -> str:
    """Give the end of an error: what was expected, and what was probably meant.

    The nearest is looked for without regard to case; a name that begins as the given one does
    counts as near, too.

    Args:
        name: what was given.
        known: all names there are.
        shown: those to list; None for all.
    """
    lower = {other.lower(): other for other in known}
    listed = list(lower.values() if shown is None else shown)
    close = difflib.get_close_matches(name.lower(), lower, 1, 0.6)
    close = close or [other for other in lower if name and other.startswith(name.lower())]
    expected = f"expected one of {', '.join(listed)}" if listed else "there is none"
    return f"{expected}; did you mean {lower[close[0]]!r}" if close else expected
