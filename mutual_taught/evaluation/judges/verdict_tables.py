"""A judge's verdicts as a table: two games a comparison, made anew from stored replies alone."""

import re
from collections.abc import Container, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mutual_taught.artifacts import tables
from mutual_taught.evaluation.judges.numbers import Games, win_rate
from mutual_taught.evaluation.judges.reply import Read, Reply
from mutual_taught.evaluation.judges.request import Request, Spec, reader, request
from mutual_taught.evaluation.judges.texts import Game

SAME, UNPARSED, REFUSED = "same_text", "no_verdict", "refused"
ORDERS = 2
EVEN, NOTHING = Read(0.5), Read(float("nan"))


class Comparison(NamedTuple):
    """Two responses to a prompt: one system's own, and that of the one named `against`."""

    against: str
    prompt_id: str
    response_index: int
    conversation: Sequence[Mapping[str, str]]
    own: str
    other: str


def comparisons(
    own: pa.Table, other: pa.Table, against: str, conversations: Mapping[str, Sequence[Any]]
) -> list[Comparison]:
    """Put two systems' responses to the same prompts beside each other.

    Args:
        own: `prompt_id`, `response_index` and `response`, row by row those of `other`.
        other: the other system's.
        against: its name.
        conversations: by prompt id.
    """
    rows = zip(
        own["prompt_id"].to_pylist(),
        own["response_index"].to_pylist(),
        own["response"].to_pylist(),
        other["response"].to_pylist(),
        strict=True,
    )
    return [
        Comparison(against, prompt, index, conversations[prompt], mine, theirs)
        for prompt, index, mine, theirs in rows
    ]


def requests(spec: Spec, compared: Sequence[Comparison]) -> list[Request]:
    """List what a judge has to be asked: both orders of every comparison of different texts."""
    return [request(spec, game) for one in compared if one.own != one.other for game in _games(one)]


def _games(one: Comparison) -> Iterator[Game]:
    """Give the two games of a comparison: its own response first, then second."""
    yield Game(one.conversation, one.own, one.other)
    yield Game(one.conversation, one.other, one.own)


def verdicts(
    spec: Spec,
    compared: Sequence[Comparison],
    replies: Mapping[str, Reply],
    refused: Container[str] = (),
) -> pa.Table:
    """Read what a judge said of comparisons.

    Responses of the same text are even, and nobody is asked.

    Args:
        spec: who was asked, and how.
        compared: in any order.
        replies: by the key of their request.
        refused: keys of the requests that the server did not take.

    Returns:
        Rows of `verdicts`, sorted.

    Raises:
        KeyError: a request was neither answered nor refused.
    """
    rows = [row for one in compared for row in _rows(spec, one, replies, refused)]
    data = pa.Table.from_pylist(rows, schema=tables.VERDICTS.schema)
    return tables.VERDICTS.sorted(data)


def _rows(
    spec: Spec, one: Comparison, replies: Mapping[str, Reply], refused: Container[str]
) -> Iterator[dict[str, Any]]:
    for order, game in enumerate(_games(one)):
        asked = request(spec, game)
        if one.own == one.other:
            yield _row(one, order, "", EVEN, None, SAME)
        elif asked.key in refused:
            yield _row(one, order, asked.key, NOTHING, None, REFUSED)
        else:
            reply = replies[asked.key]
            found = reader(spec.style)(reply)
            reason = UNPARSED if np.isnan(found.preferred) else ""
            yield _row(one, order, asked.key, found, reply, reason)


def _row(
    one: Comparison, order: int, key: str, found: Read, reply: Reply | None, reason: str
) -> dict[str, Any]:
    """Lay out a game; `preference` is its own response's, wherever it was shown."""
    preferred = found.preferred if order == 0 else 1 - found.preferred
    return {
        "against": one.against,
        "prompt_id": one.prompt_id,
        "response_index": one.response_index,
        "order": order,
        "preference": _number(preferred),
        "weight": found.weight,
        "verdict": "" if reply is None else reply.text,
        "first_logprob": _number(found.first_logprob),
        "second_logprob": _number(found.second_logprob),
        "reason": reason,
        "key": key,
        "prompt_tokens": 0 if reply is None else reply.prompt_tokens,
        "completion_tokens": 0 if reply is None else reply.completion_tokens,
    }


def _number(value: float) -> float | None:
    return None if np.isnan(value) else value


def read_again(data: pa.Table) -> tuple[dict[str, Reply], set[str]]:
    """Give the replies that a table of verdicts holds by their keys, and the keys refused.

    What was read of log-probs stands for all that were listed: it is read alike.
    """
    replies, refused = {}, set()
    for row in data.to_pylist():
        if row["reason"] == REFUSED:
            refused.add(row["key"])
        elif row["reason"] != SAME:
            listed = {"m": row["first_logprob"], "M": row["second_logprob"]}
            logprobs = {name: value for name, value in listed.items() if value is not None}
            tokens = row["prompt_tokens"], row["completion_tokens"]
            replies[row["key"]] = Reply(row["verdict"], logprobs or None, *tokens)
    return replies, refused


def games(data: pa.Table) -> Games:
    """Lay out verdicts against one system as games."""
    data = tables.VERDICTS.sorted(data)
    names = data["prompt_id"].to_numpy(zero_copy_only=False).astype(str)[::ORDERS]
    return Games(
        data["preference"].to_numpy().reshape(-1, ORDERS),
        data["weight"].to_numpy().reshape(-1, ORDERS),
        np.unique(names, return_inverse=True)[1].astype(np.int64),
    )


def judge_name(spec: Spec) -> str:
    """Name a judge as part of a metric's name: its style and its model."""
    return f"{spec.style}.{plain_name(spec.model)}"


def plain_name(name: str) -> str:
    """Leave letters, digits and a few signs of a name, so that it fits a metric's name."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name)


def by_number(one: Comparison, order: int, preference: float, said: str) -> dict[str, Any]:
    """Lay out a game that a judge of numbers decided: the same in both orders."""
    found = Read(preference if order == 0 else 1 - preference)
    return _row(one, order, "", found, Reply(said, None, 0, 0), "")


def metrics(data: pa.Table, spec: Spec, seed: int, prefix: str = "win_rate") -> dict[str, float]:
    """Measure what a judge said, against each of the other systems.

    Returns:
        By `<prefix>.vs_<other>.<style>.<model>.<number>`, the numbers of `numbers.win_rate`.
    """
    found: dict[str, float] = {}
    for other in pc.unique(data["against"]).to_pylist():
        name = f"{prefix}.vs_{other}.{judge_name(spec)}"
        rows = data.filter(pc.equal(data["against"], other))
        found |= {f"{name}.{key}": value for key, value in win_rate(games(rows), seed).items()}
    return found
