"""One question to a judge, named by its content: what is asked again has the same name."""

from collections.abc import Callable
from typing import Literal, NamedTuple

from mutual_taught.artifacts.files import digest
from mutual_taught.config.judging import StyleName
from mutual_taught.evaluation.judges import alpaca_eval, arena_hard
from mutual_taught.evaluation.judges.reply import Read, Reply
from mutual_taught.evaluation.judges.texts import Game, Message

Numeric = Literal["reward_model", "verifiable"]  # nobody is asked


class Spec(NamedTuple):
    """What decides a verdict beside the responses: the style, the model's name, the room it has."""

    style: StyleName | Numeric
    model: str
    max_tokens: int | None

    @property
    def room(self) -> int:
        """Give how many tokens a verdict may have."""
        own = alpaca_eval.MAX_TOKENS if self.style == "alpaca_eval" else arena_hard.MAX_TOKENS
        return own if self.max_tokens is None else self.max_tokens


class Request(NamedTuple):
    """What is sent. key: digest of all of it; top_logprobs: how many are asked for, 0 for none."""

    key: str
    model: str
    messages: list[Message]
    max_tokens: int
    top_logprobs: int


def request(spec: Spec, game: Game) -> Request:
    """Ask a judge about a game. Where the server is does not count: the model's name does."""
    asks = alpaca_eval.ask if spec.style == "alpaca_eval" else arena_hard.ask
    messages, room = asks(game), spec.room
    key = digest({"model": spec.model, "messages": messages, "max_tokens": room})
    top = alpaca_eval.TOP if spec.style == "alpaca_eval" else arena_hard.TOP
    return Request(key, spec.model, messages, room, top)


def reader(style: StyleName | Numeric) -> Callable[[Reply], Read]:
    """Give what reads a style's replies."""
    return alpaca_eval.read if style == "alpaca_eval" else arena_hard.read
