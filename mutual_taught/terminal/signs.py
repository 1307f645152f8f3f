"""Texts of models, data and errors, made fit to be shown: no sign of theirs acts or hides."""

import codecs
import re
import unicodedata

# Of these general categories no sign shows itself: controls, formats (bidirectional controls and
# zero-width signs among them), surrogates, private and unassigned, line and paragraph separators.
UNSEEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
# Letters, marks and symbols that show nothing either: fillers, joiners, selectors. The two that
# choose between a sign's text and emoji forms (U+FE0E, U+FE0F) are left.
BLANK = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0d\uffa0\U000e0100-\U000e01ef]"
)
SHOWN = 80
NAME = "mutual_taught.plainly"
PLAIN = {
    **dict.fromkeys("–—−‐‑", "-"),
    "…": "...",
    "≥": ">=",
    "≤": "<=",
    "≠": "!=",
    "±": "+-",
    "×": "x",
    "→": "->",
    **dict.fromkeys("‘’", "'"),
    **dict.fromkeys("“”„", '"'),
    "α": "alpha",
    "β": "beta",
    "γ": "gamma",
    "δ": "delta",
    "ε": "epsilon",
    "λ": "lambda",
    "π": "pi",
    "σ": "sigma",
    "τ": "tau",
    "₀": "_0",
    "█": "#",
}
USER = re.compile(r"(?<=://)[^/\s@]+@")
QUERY = re.compile(r"(://[^\s?#'\"]+)\?[^\s'\"]+")
TOKEN = re.compile(r"\b(?:hf|api_org)_[A-Za-z0-9]{16,}|(?<=Bearer )\S+")


def visible(text: str) -> str:
    r"""Show the signs that act or hide in place of letting them: `\x1b`, `\u202e`, `\n`.

    Printed as they are, some would colour or overwrite a terminal's lines, turn the direction of
    what follows, or stand where nothing seems to be. A backslash stays one, so that the result is
    to be read, not to be decoded.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escaped(sign) if _unseen(sign) else sign for sign in text)


def excerpt(value: object) -> str:
    """Show the beginning of a value on one line of plain signs, whatever it holds."""
    try:
        text = value if isinstance(value, str) else repr(value)
    except RecursionError:
        text = type(value).__name__
    return visible(" ".join(text[: 4 * SHOWN].split())[:SHOWN])


def _unseen(sign: str) -> bool:
    return unicodedata.category(sign) in UNSEEN or BLANK.match(sign) is not None


def _escaped(sign: str) -> str:
    return sign.encode("unicode_escape").decode()


def fit(text: str, encoding: str | None) -> str:
    """Write in plain letters what an encoding lacks: `≥` as `>=`, others as their number."""
    register()
    name = encoding or "ascii"
    return text.encode(name, NAME).decode(name)


def register() -> None:
    """Let streams treat what their encoding lacks as `fit` does, by the error handler `NAME`."""
    codecs.register_error(NAME, _plainly)


def _plainly(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    lacking = error.object[error.start : error.end]
    return "".join(PLAIN.get(sign) or _box(sign) or _escaped(sign) for sign in lacking), error.end


def _box(sign: str) -> str | None:
    """Draw a line of a box as ASCII does."""
    name = unicodedata.name(sign, "")
    if not name.startswith("BOX DRAWINGS "):
        return None
    across, upright = "HORIZONTAL" in name, "VERTICAL" in name
    return "-" if across and not upright else "|" if upright and not across else "+"


def without_secrets(text: str) -> str:
    """Leave out what gives access: names and queries of addresses, tokens of the hub."""
    return TOKEN.sub("***", QUERY.sub(r"\1?***", USER.sub("***@", text)))
