"""What a run's reward models scored: which responses, under which model, and the rewards stored."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mutual_taught.artifacts import files, tables
from mutual_taught.audit import provenance
from mutual_taught.audit.run import CheckedIteration
from mutual_taught.method.reuse import reuse_shift
from mutual_taught.models.packed.conversations import Asked
from mutual_taught.scoring import shards

Floats = NDArray[np.float64]
SIDES = ("chosen", "rejected")


class Stored(NamedTuple):
    """Prompts with responses, in the order they were scored in, and what the run says of them.

    stored: the rewards, shape (prompts, responses), NaN where there is none; or what `follows`.
    follows: what is made of the rewards before they are compared; it needs those of all prompts.
    """

    asked: Sequence[Asked]
    stored: Floats
    follows: Callable[[Floats], Floats] | None = None


class Scoring(NamedTuple):
    """Rewards of one file that one reward model gave; `read` reads them when they are needed.

    prompts: how many there are; None if they can only be scored together.
    """

    path: Path
    columns: str
    reward_model: Path
    prompts: int | None
    read: Callable[[], Stored]

    def shards(self, size: int) -> int:
        """Count the shards of so many prompts."""
        return 1 if self.prompts is None else -(-self.prompts // size)


def listed(of: CheckedIteration) -> Iterator[Scoring]:
    """List what the reward models of an iteration scored."""
    if of.began:
        yield _responses(of)
        yield _duels(of)
    if of.active and of.t:
        yield _answers(of)
        if provenance.reuses(of.key, of.settings):
            yield _shift(of)
    if of.active:
        yield from _generations(of)
        yield from _gold_pairs(of)


def _responses(of: CheckedIteration) -> Scoring:
    count = len(of.policy_prompts())
    path, judge = of.path(tables.REWARDS), of.before / "reward_model"
    return Scoring(path, "reward", judge, count, partial(_responses_stored, of))


def _responses_stored(of: CheckedIteration) -> Stored:
    path, drawn = of.path(tables.RESPONSES), of.table(tables.RESPONSES)
    asked = shards.by_prompt(drawn, path, of.run.split("policy"), path)
    return Stored(asked, _by_prompt(of.table(tables.REWARDS)["reward"], len(asked)))


def _duels(of: CheckedIteration) -> Scoring:
    count = len(of.run.split("selection"))
    path, judge = of.path(tables.DUELS), of.before / "reward_model"
    return Scoring(path, "rewards", judge, count, partial(_duels_stored, of))


def _duels_stored(of: CheckedIteration) -> Stored:
    """The responses of pi_{t-1} come first, then those of each candidate, as they were scored."""
    data, path = of.table(tables.DUELS), of.path(tables.DUELS)
    parts = [
        data.filter(pc.equal(data["step"], step)) for step in pc.unique(data["step"]).to_pylist()
    ]
    sides = [(parts[0], "previous_"), *((part, "") for part in parts)]
    ids = pc.unique(parts[0]["prompt_id"]).to_pylist()
    each = len(parts[0]) // len(ids)  # draws a prompt
    texts = [
        part[f"{side}response"].to_pylist()[index::each]
        for part, side in sides
        for index in range(each)
    ]
    stored = [_by_prompt(part[f"{side}reward"], len(ids)) for part, side in sides]
    asked = shards.together(ids, texts, of.run.split("selection"), path)
    return Stored(asked, np.concatenate(stored, axis=1))


def _answers(of: CheckedIteration) -> Scoring:
    count = len(of.run.split("reward"))
    path, judge = of.path(tables.ANSWER_REWARDS), of.before / "reward_model"
    return Scoring(path, "rewards", judge, count, partial(_answers_stored, of))


def _answers_stored(of: CheckedIteration) -> Stored:
    """The answers of pi_t come first, then those of pi_{t-1}."""
    data, path = of.table(tables.ANSWER_REWARDS), of.path(tables.ANSWER_REWARDS)
    texts = [of.table(table)["response"] for table in (tables.ANSWERS, tables.PREVIOUS_ANSWERS)]
    rewards = [data[f"{side}reward"] for side in ("", "previous_")]
    return _stored(data["prompt_id"], texts, rewards, of.run.split("reward"), path)


def _shift(of: CheckedIteration) -> Scoring:
    """How far r_{t-1} favours reused answers, beyond what r_0 does: of rewards stored nowhere."""
    path, base = of.metrics("answer"), of.run.folder / "0" / "reward_model"
    return Scoring(path, "previous_shift", base, None, partial(_shift_stored, of))


def _shift_stored(of: CheckedIteration) -> Stored:
    asked, rewards, _ = _answers_stored(of)

    def follows(base_rewards: Floats) -> Floats:
        shift = reuse_shift(rewards, base_rewards)
        return np.array([np.nan if shift is None else shift])

    stated = files.read_json(of.metrics("answer")).get("previous_shift", np.nan)
    return Stored(asked, np.array([stated], np.float64), follows)


def _generations(of: CheckedIteration) -> Iterator[Scoring]:
    """The responses to the eval prompts were scored under r_t, under r_{t-1} and under r_0."""
    path, count = of.path(tables.GENERATIONS), len(of.run.split("eval"))
    start = of.run.folder / "0"
    by = {"rt": of.here, "previous": of.before if of.t else start, "r0": start}
    for model, folder in by.items():
        name, judge = f"reward_{model}", folder / "reward_model"
        yield Scoring(path, name, judge, count, partial(_generations_stored, of, name))


def _generations_stored(of: CheckedIteration, column: str) -> Stored:
    path, own = of.path(tables.GENERATIONS), of.table(tables.GENERATIONS)
    asked = shards.by_prompt(own, path, of.run.split("eval"), path)
    return Stored(asked, _by_prompt(own[column], len(asked)))


def _gold_pairs(of: CheckedIteration) -> Iterator[Scoring]:
    """Held-out gold pairs were scored under r_t; r_0's scores are those of iteration 0."""
    if held_out := len(of.held_out()):
        path, judge = of.path(tables.RM_SCORES), of.here / "reward_model"
        yield Scoring(path, "rewards", judge, held_out, partial(_gold_pairs_stored, of))


def _gold_pairs_stored(of: CheckedIteration) -> Stored:
    scores, pairs = of.table(tables.RM_SCORES), of.held_out()
    of_rt = pc.and_(pc.equal(scores["set"], "gold_pairs"), pc.equal(scores["reward_model"], "rt"))
    rows = scores.filter(of_rt)
    texts, rewards = [pairs[side] for side in SIDES], [rows[f"reward_{side}"] for side in SIDES]
    return _stored(pairs["prompt_id"], texts, rewards, pairs, of.path(tables.RM_SCORES))


def _stored(
    ids: pa.ChunkedArray,
    texts: Sequence[pa.ChunkedArray],
    rewards: Sequence[pa.ChunkedArray],
    prompts: pa.Table,
    path: Path,
) -> Stored:
    """Put responses and rewards side by side, one column of each after the other."""
    listed = [column.to_pylist() for column in texts]
    asked = shards.together(ids.to_pylist(), listed, prompts, path)
    return Stored(asked, np.stack([column.to_numpy() for column in rewards], axis=1))


def _by_prompt(rewards: pa.ChunkedArray, prompts: int) -> Floats:
    """Give rewards as shape (prompts, responses), NaN where there is none."""
    return np.asarray(rewards.to_numpy().reshape(prompts, -1))
