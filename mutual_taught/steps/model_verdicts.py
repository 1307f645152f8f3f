"""A language model as the judge of duels: asked once, then read from the stored replies."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mutual_taught.artifacts import joins, tables
from mutual_taught.config.judging import Endpoint
from mutual_taught.evaluation.judges import alpaca_eval
from mutual_taught.evaluation.judges.asking import ask_all
from mutual_taught.evaluation.judges.reply import Reply
from mutual_taught.evaluation.judges.request import Request, Spec, request
from mutual_taught.evaluation.judges.store import opened, place
from mutual_taught.evaluation.judges.texts import Game

REPLIES = ("reply", "swapped_reply")  # the candidate's response shown first, and second
EVEN = 0.5


class Asking(NamedTuple):
    """The judge's name, and where it is."""

    model: str
    endpoint: Endpoint


def requests(duels: pa.Table, prompts: pa.Table, model: str, path: Path) -> list[list[Request]]:
    """List what a judge has to be asked about each duel: both orders, none of equal texts.

    Args:
        duels: `prompt_id`, `response` and `previous_response`.
        prompts: table `prompts` of the selection split.
        model: the judge's name.
        path: where the prompts were read from, for messages.
    """
    spec = Spec("alpaca_eval", model, None)
    turns = joins.align(prompts, duels["prompt_id"].to_pylist(), path)["messages"].to_pylist()
    texts = (duels[name].to_pylist() for name in ("response", "previous_response"))
    return [
        [request(spec, Game(asked, *both)) for both in ((own, other), (other, own))]
        if own != other
        else []
        for asked, own, other in zip(turns, *texts, strict=True)
    ]


def replies(duels: pa.Table, prompts: pa.Table, asking: Asking, path: Path) -> pa.Table:
    """Ask about every duel what was never asked, and lay the replies beside the duels.

    Returns:
        Columns `reply` and `swapped_reply`: JSON of each reply with the key of its request; empty
        where the texts are equal or the server refused.

    Raises:
        EndpointError: the judge gives no answers.
    """
    listed = requests(duels, prompts, asking.model, path)
    with opened(place(asking.model)) as store:
        ask_all([one for both in listed for one in both], store, asking.endpoint)
        said = [[_written(one.key, store.replies.get(one.key)) for one in both] for both in listed]
    columns = {name: [both[n] if both else "" for both in said] for n, name in enumerate(REPLIES)}
    return pa.table({name: pa.array(texts, tables.TEXT) for name, texts in columns.items()})


def _written(key: str, reply: Reply | None) -> str:
    return "" if reply is None else json.dumps({"key": key, **reply._asdict()}, sort_keys=True)


def preferences(duels: pa.Table) -> NDArray[np.float64]:
    """Read how far the judge prefers each candidate's response, both orders averaged.

    Args:
        duels: with both texts and the stored replies.

    Returns:
        In [0, 1], shape (duels,); 0.5 where both texts are equal, NaN where a reply is missing or
        says nothing that can be read.

    Raises:
        ValueError, KeyError: a stored reply is none.
    """
    first, second = (np.array(list(_read(duels, name))) for name in REPLIES)
    equal = np.array(duels["response"].to_pylist()) == np.array(
        duels["previous_response"].to_pylist()
    )
    return np.where(equal, EVEN, (first + 1 - second) / 2)


def _read(duels: pa.Table, name: str) -> Iterator[float]:
    """Read how far the response shown first is preferred in each stored reply."""
    for text in duels[name].to_pylist():
        if not text:
            yield float("nan")
            continue
        told = json.loads(text)
        reply = Reply(told["text"], told["logprobs"], 0, 0)
        yield alpaca_eval.read(reply).preferred


def keys(duels: pa.Table, name: str) -> list[str]:
    """Give the keys of the requests that stored replies answer; empty where there is none."""
    return [json.loads(text)["key"] if text else "" for text in duels[name].to_pylist()]
