"""Texts of models and data inside a judge's prompt: shown whole, but never as part of the frame."""

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

Message = dict[str, str]
TAGS = re.compile(r"<(?=\s*/?\s*(?:conversation|answer)\b)", re.IGNORECASE)
LABEL = re.compile(r"\[\[(?=\s*[AB]\s*[<>=]+\s*[AB]\s*\]\])", re.IGNORECASE)


class Game(NamedTuple):
    """What a judge is shown: a conversation, and two responses to it in the order it sees them."""

    conversation: Sequence[Mapping[str, str]]
    first: str
    second: str


def asked(system: str, template: str, game: Game) -> list[Message]:
    """Write a judge's prompt; the template has places for `conversation`, `first` and `second`."""
    values = {
        "conversation": conversation(game.conversation),
        "first": framed(game.first),
        "second": framed(game.second),
    }
    return [
        {"role": "system", "content": system},
        {"role": "user", "content": filled(template, values)},
    ]


def framed(text: str) -> str:
    """Keep a text from closing its own frame, or from holding a verdict that could be quoted.

    A tag of the frame loses its `<` (it becomes `&lt;`), and a verdict such as `[[A>>B]]` gets a
    space: `[ [A>>B]]`, which is none. All else stays as it is. It cannot keep a judge from
    believing what a response says of itself.
    """
    return LABEL.sub("[ [", TAGS.sub("&lt;", text))


def conversation(turns: Sequence[Mapping[str, str]]) -> str:
    """Write a conversation down: one turn as it is, several with the role before each."""
    if len(turns) == 1:
        return framed(turns[0]["content"])
    return "\n\n".join(f"{turn['role']}: {framed(turn['content'])}" for turn in turns)


def filled(template: str, values: Mapping[str, str]) -> str:
    """Put values where a template names them, in one pass: what a value holds is never a name."""
    return re.sub(r"\{(\w+)\}", lambda found: values[found[1]], template)
