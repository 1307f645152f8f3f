"""What a benchmark is: the functions its module has, and what travels between them.

A module of a benchmark holds `HUB`, where its data is published, and these functions. For reward
models (`RewardBenchmark`): `read` makes items of files, the caller scores every response of every
item, `metrics` and `records` say what came out. For policies `read` makes prompts, the caller
draws a response to each, and then `metrics` measures them here (`CheckedBenchmark`), or `export`
writes them for a judge of the benchmark's own, whose verdicts `metrics_from` reads
(`JudgedBenchmark`).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mutual_taught.artifacts import schemas
from mutual_taught.keys import prompt_id
from mutual_taught.models.message import Message

SEED = 1  # of bootstraps and sign flips: the same file and model give the same interval
Metrics = dict[str, float | None]
Scores = Sequence[Sequence[float | None]]


class Hub(NamedTuple):
    """Where the Hugging Face hub has a benchmark's data.

    dataset: its id. files: names or patterns of the files that `read` takes, within the data set.
    revision: the commit that was looked at; None where it is not known, and the user names one.
    """

    dataset: str
    files: tuple[str, ...]
    revision: str | None = None


class Item(NamedTuple):
    """A prompt with responses that a reward model is to rank.

    item_id: names the row in every table. subset: of the benchmark; empty if it has none.
    messages: the conversation, which ends in a user turn. responses: at least two. labels: what the
    file says of each response: 1 and 0, or a score; the higher the better. comparisons: the pairs
    (better, worse) of indices that are counted; empty where the metric makes them of the labels.
    note: what else the metric needs, by names of its own.
    """

    item_id: str
    subset: str
    messages: Sequence[Message]
    responses: Sequence[str]
    labels: Sequence[float]
    comparisons: Sequence[tuple[int, int]] = ()
    note: Mapping[str, Any] = {}


Items = Sequence[Item]


class Prompt(NamedTuple):
    """A prompt that a policy is to answer; `note` is what the metric needs, by its own names."""

    prompt_id: str
    subset: str
    messages: Sequence[Message]
    note: Mapping[str, Any] = {}


Prompts = Sequence[Prompt]


class Benchmark(Protocol):
    """What every benchmark says of itself."""

    @property
    def HUB(self) -> Hub | None:  # noqa: N802 (a constant of the module)
        """Where its data is published; None for files of one's own."""

    @property
    def EXPECTED(self) -> str:  # noqa: N802
        """What a file must be, as the end of an error: `JSONL with prompt, chosen, rejected`."""


class RewardBenchmark(Benchmark, Protocol):
    """A benchmark of reward models."""

    def read(self, paths: Sequence[Path]) -> Items:
        """Read its published format.

        Raises:
            InputError: some rows are not in it; all of them, with what is wrong, in one line.
        """

    def metrics(self, items: Items, scores: Scores) -> Metrics:
        """Measure a reward model.

        Args:
            items: of `read`.
            scores: of each item, a reward of each response; None where the model cannot read it.
        """

    def records(self, items: Items, scores: Scores) -> pa.Table:
        """Say what decided each item, in rows of `records` (see `record_table`)."""


class CheckedBenchmark(Benchmark, Protocol):
    """A benchmark of policies that is measured here."""

    @property
    def JUDGED(self) -> Literal[False]:  # noqa: N802
        """Tell it from those of judges."""

    def read(self, paths: Sequence[Path]) -> Prompts:
        """Read its published format, as `RewardBenchmark.read`."""

    def metrics(self, prompts: Prompts, responses: Sequence[str]) -> Metrics:
        """Measure a response to each prompt."""

    def records(self, prompts: Prompts, responses: Sequence[str]) -> pa.Table:
        """Say what decided each prompt, in rows of `records`."""


class JudgedBenchmark(Benchmark, Protocol):
    """A benchmark of policies whose responses are exported for a judge of its own."""

    @property
    def JUDGED(self) -> Literal[True]:  # noqa: N802
        """Tell it from those that are measured here."""

    def read(self, paths: Sequence[Path]) -> Prompts:
        """Read its published format, as `RewardBenchmark.read`."""

    def export(
        self, prompts: Prompts, responses: Sequence[str], generator: str, folder: Path
    ) -> list[Path]:
        """Write the responses in the format that the benchmark's judge reads; give the files."""

    def metrics_from(self, prompts: Prompts, judgements: Sequence[Path]) -> Metrics:
        """Measure what a judge said of exported responses."""


def rewards_of(scores: Scores) -> list[NDArray[np.float64]]:
    """Give each item's rewards as numbers, NaN where there is none."""
    return [np.array(one, np.float64) for one in scores]


def groups_of(items: Items) -> NDArray[np.int64]:
    """Number each item's prompt, shape (items,): items of one prompt are resampled together."""
    ids = np.array([prompt_id(item.messages) for item in items], str)
    return np.unique(ids, return_inverse=True)[1].astype(np.int64)


class Compared(NamedTuple):
    """Pairs whose better side is known, shape (pairs,) each.

    Rewards are NaN where there is none, lengths are in characters, `group` numbers the prompt,
    `item` the item among all.
    """

    reward_chosen: NDArray[np.float64]
    reward_rejected: NDArray[np.float64]
    length_chosen: NDArray[np.int64]
    length_rejected: NDArray[np.int64]
    group: NDArray[np.int64]
    item: NDArray[np.int64]


def compared(items: Items, scores: Scores) -> Compared:
    """Lay out the comparisons of all items, item by item, in their order.

    An item without comparisons of its own has those between its labels: every response against
    every one with a lower label.
    """
    rewards, groups = rewards_of(scores), groups_of(items)
    rows = [
        (rewards[place][a], rewards[place][b], len(one.responses[a]), len(one.responses[b]), place)
        for place, one in enumerate(items)
        for a, b in one.comparisons or by_labels(one.labels)
    ]
    columns = [np.array(column) for column in zip(*rows, strict=True)] or [np.empty(0)] * 5
    chosen, rejected, long, short, item = columns
    places = item.astype(np.int64)
    return Compared(
        chosen.astype(np.float64),
        rejected.astype(np.float64),
        long.astype(np.int64),
        short.astype(np.int64),
        groups[places],
        places,
    )


def by_labels(labels: Sequence[float]) -> list[tuple[int, int]]:
    """List the pairs (better, worse) of responses whose labels differ, by index."""
    places = range(len(labels))
    return [(a, b) for a in places for b in places if labels[a] > labels[b]]


def record_table(items: Items, scores: Scores, values: Sequence[float]) -> pa.Table:
    """Lay out what decided each item as rows of `records`.

    Args:
        items: of the benchmark.
        scores: of each item.
        values: what each item gives to the benchmark's mean, such as 1 where the best response has
            the highest reward, 0 where it has not; models are compared by these, item by item.
    """
    return pa.table(
        {
            "item_id": [item.item_id for item in items],
            "subset": [item.subset for item in items],
            "prompt_id": [prompt_id(item.messages) for item in items],
            "value": np.asarray(values, np.float64),
            "labels": [list(map(float, item.labels)) for item in items],
            "rewards": [list(one) for one in scores],
        },
        schema=schemas.RECORDS.schema,
    )


def prompt_table(prompts: Prompts, values: Sequence[float]) -> pa.Table:
    """Lay out what each response to a prompt was worth as rows of `records`."""
    items = [Item(one.prompt_id, one.subset, one.messages, (), ()) for one in prompts]
    return record_table(items, [()] * len(items), values)
