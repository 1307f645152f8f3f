"""What a table is: its name and place, its columns, its order, and what its provenance names."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa


class MadeFrom(NamedTuple):
    """The names under which a table says what it was made from; its writer may use no others.

    inputs: models by their digest, tables and parts of them by the digest of their rows. terms:
    parameters, the seed, and what follows from them. switched: names that a parameter adds.
    """

    inputs: tuple[str, ...] = ()
    terms: tuple[str, ...] = ()
    switched: tuple[str, ...] = ()

    def unknown(self, names: Iterable[str]) -> list[str]:
        """List those that are not among its names."""
        return [name for name in names if not any(name in part for part in self)]


NOTHING = MadeFrom()


@dataclass(frozen=True)
class Table:
    """A table's file name, columns in order, sort keys and columns that may be null.

    It knows where it lies in a folder, how its rows are ordered, and what its provenance names;
    nothing else spells these. `switched` are columns that a parameter adds: they are written and
    read where rows have them.
    """

    name: str
    columns: Mapping[str, pa.DataType]
    keys: tuple[str, ...]
    nullable: frozenset[str] = frozenset()
    switched: Mapping[str, pa.DataType] = field(default_factory=dict)
    made_from: MadeFrom = NOTHING

    @property
    def kinds(self) -> Mapping[str, pa.DataType]:
        """All columns with their types, also those that not every run has."""
        return {**self.columns, **self.switched}

    @property
    def schema(self) -> pa.Schema:
        """The Arrow schema, without metadata and without switched columns."""
        return self.schema_of(self.columns)

    def schema_of(self, names: Iterable[str]) -> pa.Schema:
        """Give the Arrow schema of some columns, without metadata."""
        kinds = self.kinds
        return pa.schema([pa.field(name, kinds[name], name in self.nullable) for name in names])

    def path(self, folder: Path) -> Path:
        """Locate the table in the folder it is written to, such as `run/1` or `run/1/eval`."""
        return folder / f"{self.name}.parquet"

    def sorted(self, data: pa.Table) -> pa.Table:
        """Order rows as the written table has them: by the keys, each ascending."""
        return data.sort_by([(key, "ascending") for key in self.keys])
