"""A run that is checked: its tables, each read and hashed once, and its iterations."""

from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
from transformers import PreTrainedTokenizerBase

from mutual_taught.artifacts import decision, tables
from mutual_taught.config import blocks
from mutual_taught.evaluation.judge import HELD_OUT
from mutual_taught.models.folders import stop_ids
from mutual_taught.prepare import tokenizers
from mutual_taught.steps.sample import policy_prompts

EVAL = (tables.GENERATIONS, tables.JUDGEMENTS, tables.RM_SCORES)


class Reader(NamedTuple):
    """What the run's models read with: the policy's tokenizer and stop tokens, the judge's."""

    tokenizer: PreTrainedTokenizerBase
    stop_ids: frozenset[int]
    judging: PreTrainedTokenizerBase


class Run:
    """A run's tables, each read and hashed once, in other threads where they are asked ahead."""

    def __init__(self, folder: Path, keys: Sequence[str]) -> None:
        self.folder, self.keys = folder, keys
        self._pool = ThreadPoolExecutor(2, "tables")
        self._read: dict[Path, Future[pa.Table]] = {}
        self._hashed: dict[Path, Future[dict[str, str]]] = {}

    def listed(self, key: str) -> list[tuple[Path, tables.Table]]:
        """List an iteration's tables."""
        folder = self.folder / key
        made = (*tables.EXCHANGED, tables.REWARD_TRAINING)
        listed = [(table.path(folder), table) for table in made]
        listed += [(table.path(folder / "eval"), table) for table in EVAL]
        if (verdicts := tables.VERDICTS.path(folder)).exists():
            listed.append((verdicts, tables.VERDICTS))
        return [(path, table) for path, table in listed if key != "0" or path.exists()]

    def ahead(self, listed: Iterable[tuple[Path, tables.Table]]) -> None:
        """Begin to read and hash tables that will be asked for."""
        new = [(path, table) for path, table in listed if path not in self._read]
        # Threads take jobs in order: a table's reading has begun before its hashing waits.
        for path, table in new:
            self._read[path] = self._pool.submit(tables.read, path, table)
        for path, _ in new:
            if path not in self._hashed:
                self._hashed[path] = self._pool.submit(_digests, self._read[path])

    def table(self, path: Path, table: tables.Table) -> pa.Table:
        """Read a table, once."""
        if path not in self._read:
            self.ahead([(path, table)])
        return self._read[path].result()

    def columns(self, path: Path, table: tables.Table) -> dict[str, str]:
        """Hash a table's columns, once."""
        if path not in self._hashed:
            self.ahead([(path, table)])
        return self._hashed[path].result()

    def digest(self, path: Path, table: tables.Table) -> str:
        """Hash a table's rows."""
        return tables.joined(self.columns(path, table))

    def split(self, name: str) -> pa.Table:
        """Read the prompts of a split; `policy` are those of all its parts."""
        return self.table(*self.split_file(name))

    def split_file(self, name: str) -> tuple[Path, tables.Table]:
        """Say where the prompts of a split are."""
        table = tables.split(name)
        return table.path(self.folder / "0" / "splits"), table

    def seed_pairs(self) -> tuple[Path, tables.Table]:
        """Say where the pairs are that r_0 was trained on."""
        return tables.SEED_PAIRS.path(self.folder / "0"), tables.SEED_PAIRS

    @cached_property
    def reader(self) -> Reader:
        """Load the tokenizers of iteration 0, by which all its policies and reward models read."""
        start = self.folder / "0"
        policy, judging = tokenizers.load(start / "tokenizers")
        return Reader(policy, stop_ids(start / "policy", policy), judging)

    def forget(self, unneeded: Iterable[Path]) -> None:
        """Let go of tables, but not of their digests; one that is asked for again is read again."""
        for path in unneeded:
            self._read.pop(path, None)


def _digests(read: Future[pa.Table]) -> dict[str, str]:
    return tables.column_digests(read.result())


class CheckedIteration(NamedTuple):
    """An iteration that is checked, by its key in params.yaml; 0 is the start."""

    run: Run
    key: str
    settings: blocks.Params

    @property
    def t(self) -> int:
        """Give its number."""
        return int(self.key)

    @property
    def here(self) -> Path:
        """Give its folder."""
        return self.run.folder / self.key

    @property
    def previous(self) -> str:
        """Name the iteration before; that before the start is the start itself."""
        return self.settings.iterations[self.key].prev if self.t else self.key

    @property
    def before(self) -> Path:
        """Give the folder of the iteration before."""
        return self.run.folder / self.previous

    @property
    def active(self) -> bool:
        """Tell whether the run goes on after its selection: it has a policy of its own."""
        return decision.read(self.here / "decision.json").active

    @property
    def began(self) -> bool:
        """Tell whether the run had not been stopped before it: it has responses and candidates."""
        return self.t > 0 and decision.read(self.before / "decision.json").active

    def path(self, table: tables.Table) -> Path:
        """Say where a table of this iteration is."""
        return table.path(self.here / "eval" if table in EVAL else self.here)

    def table(self, table: tables.Table) -> pa.Table:
        """Read a table of this iteration, once."""
        return self.run.table(self.path(table), table)

    def previous_table(self, table: tables.Table) -> pa.Table:
        """Read a table of the iteration before, once."""
        return self._replace(key=self.previous).table(table)

    def policy_prompts(self) -> pa.Table:
        """Give the prompts of the policy's part that iteration t samples on: D_E^t."""
        return policy_prompts(self.run.split("policy"), self.t)

    def held_out(self) -> pa.Table:
        """Give the held-out gold pairs: the run's own copy of them."""
        pairs = self.run.table(tables.GOLD_PAIRS.path(self.run.folder / "0"), tables.GOLD_PAIRS)
        return pairs.filter(pc.equal(pairs["part"], HELD_OUT))

    def metrics(self, stage: str) -> Path:
        """Say where a stage's numbers are."""
        return self.here / "metrics" / f"{stage}.json"
