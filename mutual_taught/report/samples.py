"""Samples of a report: prompts with what each iteration answered, and what became of it.

The rule of what is shown: of each split the first prompts by id, at most `PROMPTS`. Ids are hashes,
so these are a draw at random, and the same prompts in every iteration. Of a prompt at most
`RESPONSES` responses, of a text at most `SIGNS` signs. A page whose texts are more than
`TEXT_BYTES` shows half as many prompts a split, and again, until they fit.
"""

import html
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mutual_taught.artifacts import files
from mutual_taught.errors import InputError
from mutual_taught.method.reward_quality import ranks

PROMPTS, RESPONSES, SIGNS = 200, 8, 1200
TEXT_BYTES = 6_000_000
SPLITS = ("eval", "policy", "reward", "selection")
NAME = "samples.json"


class Response(NamedTuple):
    """A response as it is shown.

    `who` gave it (`answer 0`, `π_1`, `checkpoint 32`), `cut` signs of the text are not shown,
    `end` is why it ended, `numbers` what is known of it by its name, `followed` how far it follows
    each of its prompt's instructions, and `mark` what it became in a pair or duel.
    """

    who: str
    text: str
    cut: int
    tokens: int | None
    end: str
    numbers: Mapping[str, float | None]
    followed: Sequence[float] = ()
    mark: str = ""


class Sample(NamedTuple):
    """What an iteration has of a prompt: `turns` are (role, text), `note` tells of its pair.

    Fields are the keys of the file; `answers` are the responses.
    """

    split: str
    prompt_id: str
    turns: Sequence[Sequence[str]]
    instructions: Sequence[str]
    answers: Sequence[Response]
    note: str = ""


class Card(NamedTuple):
    """A prompt with the samples of all iterations that have one, and what it is sorted by.

    `change` is that of mean gold, or without gold of r_0's mean reward, from its first to its last
    iteration. `disagreement` is how far the prompt's rank by reward is from its rank by gold, as
    shares of all shown prompts. `longest` and `shortest` are tokens of the last iteration's
    responses. Each is None where it is not known.
    """

    first: Sample
    columns: Sequence[tuple[int, Sample]]
    change: float | None
    disagreement: float | None
    longest: int | None
    shortest: int | None


def cut(text: str) -> tuple[str, int]:
    """Shorten a text to `SIGNS` signs, and count those that are left out."""
    return text[:SIGNS], max(len(text) - SIGNS, 0)


def shortened(text: str) -> str:
    """Shorten a prompt's turn, and say how much of it is not shown."""
    shown, left = cut(text)
    return f"{shown} … ({left} more signs)" if left else shown


def write(folder: Path, samples: Iterable[Sample]) -> None:
    """Write the samples of an iteration to its folder in the report."""
    rows = [
        {**sample._asdict(), "answers": [response._asdict() for response in sample.answers]}
        for sample in samples
    ]
    files.write_json(folder / NAME, rows)


def read(folder: Path) -> list[Sample]:
    """Read the samples of an iteration.

    Raises:
        MissingFileError: there are none.
        InputError: they are not as `write` wrote them.
    """
    rows: list[dict[str, Any]] = files.read_json(folder / NAME, list)
    try:
        return [
            Sample(**{**row, "answers": [Response(**response) for response in row["answers"]]})
            for row in rows
        ]
    except (KeyError, TypeError):
        raise InputError(
            f"{folder / NAME}: not the samples of a report; expected prompts with answers; "
            "run dvc repro or dvc pull"
        ) from None


def fitted(samples: Mapping[int, Sequence[Sample]]) -> dict[int, list[Sample]]:
    """Take as many prompts of each split as fit on a page, the first by id.

    Args:
        samples: iteration -> its samples.
    """
    ids = {
        split: sorted(
            {one.prompt_id for found in samples.values() for one in found if one.split == split}
        )
        for split in SPLITS
    }
    limit = max(map(len, ids.values()), default=0)
    while True:
        kept = {split: set(names[:limit]) for split, names in ids.items()}
        shown = {
            t: [one for one in found if one.prompt_id in kept[one.split]]
            for t, found in samples.items()
        }
        if limit <= 1 or _bytes(shown) <= TEXT_BYTES:
            return shown
        limit //= 2


def _bytes(samples: Mapping[int, Sequence[Sample]]) -> int:
    """Count the bytes that all texts take on the page, where `<` is four of them."""
    return sum(
        len(html.escape(text).encode(errors="replace"))
        for found in samples.values()
        for sample in found
        for text in (*(text for _, text in sample.turns), *(one.text for one in sample.answers))
    )


def cards(samples: Mapping[int, Sequence[Sample]]) -> list[Card]:
    """Join the samples of all iterations by prompt: by split, then by id.

    Args:
        samples: iteration -> its samples, those that are shown.
    """
    groups: dict[tuple[int, str], list[tuple[int, Sample]]] = {}
    for t in sorted(samples):
        for one in samples[t]:
            groups.setdefault((SPLITS.index(one.split), one.prompt_id), []).append((t, one))
    ordered = [groups[key] for key in sorted(groups)]
    apart = _disagreements(ordered)
    return [_card(columns, far) for columns, far in zip(ordered, apart, strict=True)]


def _card(columns: Sequence[tuple[int, Sample]], disagreement: float | None) -> Card:
    first, last = columns[0][1], columns[-1][1]
    lengths = [response.tokens for response in last.answers if response.tokens is not None]
    return Card(
        last,
        columns,
        _change(first, last) if len(columns) > 1 else None,
        disagreement,
        max(lengths, default=None),
        min(lengths, default=None),
    )


def _change(first: Sample, last: Sample) -> float | None:
    for name in ("gold", "r_0"):
        before, after = mean(first, name), mean(last, name)
        if before is not None and after is not None:
            return after - before
    return None


def mean(sample: Sample, name: str) -> float | None:
    """Give the mean of a number over a sample's responses that have it; None without any."""
    values = [response.numbers.get(name) for response in sample.answers]
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _disagreements(groups: Sequence[Sequence[tuple[int, Sample]]]) -> list[float | None]:
    """Rank prompts by mean gold and by mean reward: how far apart the ranks are, 1 at most."""
    means = [[mean(group[-1][1], name) for group in groups] for name in ("gold", "r_t")]
    both = np.array(means, np.float64)  # NaN where there is none
    known = np.flatnonzero(~np.isnan(both).any(0))
    found: list[float | None] = [None] * len(groups)
    if len(known) > 1:
        golds, rewards = (ranks(values[known]) for values in both)
        for place, far in zip(known, abs(golds - rewards) / (len(known) - 1), strict=True):
            found[place] = float(far)
    return found
