"""The Parquet tables that stages exchange: schemas, whole-or-nothing writes, joins by id."""

import hashlib
import io
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mutual_taught.artifacts.digests import column_sha256
from mutual_taught.artifacts.files import write_bytes
from mutual_taught.artifacts.version import VERSION
from mutual_taught.errors import InputError, MissingFileError

ROW_GROUP = 65_536
TEXT_BYTES = 2**31 - 1  # of a column: Arrow counts where its strings begin in 32 bits
TOO_LONG, REFUSED = "too_long", "template_refuses"
UNSCORED = (TOO_LONG, REFUSED)  # why an answer has no reward

TEXT, NUMBER, INDEX, FLAG = pa.string(), pa.float64(), pa.int64(), pa.bool_()
TOKENS, TEXTS = pa.list_(pa.int32()), pa.list_(pa.string())
MESSAGES = pa.list_(pa.struct([("role", TEXT), ("content", TEXT)]))


@dataclass(frozen=True)
class Table:
    """A table's file name, columns in order, sort keys and columns that may be null.

    It knows where it lies in a folder and how its rows are ordered; nothing else spells either.
    `switched` are columns that a parameter adds: they are written and read where rows have them.
    """

    name: str
    columns: Mapping[str, pa.DataType]
    keys: tuple[str, ...]
    nullable: frozenset[str] = frozenset()
    switched: Mapping[str, pa.DataType] = field(default_factory=dict)

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


PROMPTS = Table(
    "split",
    {
        "prompt_id": TEXT,
        "messages": MESSAGES,
        "split": TEXT,
        "source": TEXT,
        "instruction_ids": TEXTS,
        "instruction_kwargs": TEXTS,
        "chosen": TEXT,
        "rejected": TEXT,
    },
    ("prompt_id",),
    frozenset({"chosen", "rejected"}),
)
ALL_PROMPTS = replace(PROMPTS, name="prompts", columns={**PROMPTS.columns, "row": INDEX})
DROPPED_PROMPTS = Table(
    "dropped_prompts",
    {"file": TEXT, "row": INDEX, "reason": TEXT, "excerpt": TEXT},
    ("file", "row"),
)
RESPONSES = Table(
    "responses",
    {
        "prompt_id": TEXT,
        "response_index": INDEX,
        "response": TEXT,
        "token_ids": TOKENS,
        "length_tokens": INDEX,
        "finish_reason": TEXT,
        "seed": INDEX,
        "logprob": NUMBER,
    },
    ("prompt_id", "response_index"),
    frozenset({"logprob"}),
)
REWARDS = Table(
    "rewards",
    {"prompt_id": TEXT, "response_index": INDEX, "reward": NUMBER, "reason": TEXT},
    ("prompt_id", "response_index"),
    frozenset({"reward"}),
)
RANKED_PAIRS = Table(
    "ranked_pairs",
    {
        "prompt_id": TEXT,
        "chosen_index": INDEX,
        "rejected_index": INDEX,
        "reward_chosen": NUMBER,
        "reward_rejected": NUMBER,
        "reference_chosen_logps": NUMBER,
        "reference_rejected_logps": NUMBER,
        "kept": FLAG,
        "reason": TEXT,
    },
    ("prompt_id",),
    frozenset(
        {
            "chosen_index",
            "rejected_index",
            "reward_chosen",
            "reward_rejected",
            "reference_chosen_logps",
            "reference_rejected_logps",
        }
    ),
)
DUELS = Table(
    "duels",
    {
        "step": INDEX,
        "prompt_id": TEXT,
        "response": TEXT,
        "previous_response": TEXT,
        "token_ids": TOKENS,
        "previous_token_ids": TOKENS,
        "finish_reason": TEXT,
        "previous_finish_reason": TEXT,
        "reward": NUMBER,
        "previous_reward": NUMBER,
        "outcome": NUMBER,
        "reason": TEXT,
    },
    ("step", "prompt_id"),
    frozenset({"reward", "previous_reward", "outcome"}),
)
ANSWERS = Table(
    "answers",
    {
        "prompt_id": TEXT,
        "response": TEXT,
        "token_ids": TOKENS,
        "length_tokens": INDEX,
        "finish_reason": TEXT,
        "seed": INDEX,
    },
    ("prompt_id",),
)
PREVIOUS_ANSWERS = replace(ANSWERS, name="previous_answers")
ANSWER_REWARDS = Table(
    "answer_rewards",
    {
        "prompt_id": TEXT,
        "reward": NUMBER,
        "previous_reward": NUMBER,
        "reason": TEXT,
        "previous_reason": TEXT,
    },
    ("prompt_id",),
    frozenset({"reward", "previous_reward"}),
)
PSEUDO_PAIRS = Table(
    "pseudo_pairs",
    {
        "prompt_id": TEXT,
        "response": TEXT,
        "previous_response": TEXT,
        "reward": NUMBER,
        "previous_reward": NUMBER,
        "reward_margin": NUMBER,
        "kept": FLAG,
        "reason": TEXT,
    },
    ("prompt_id",),
    frozenset({"reward", "previous_reward", "reward_margin"}),
    {"gold": NUMBER, "previous_gold": NUMBER, "chosen": TEXT},
)
REWARD_PAIRS = Table(
    "reward_pairs",
    {
        "pair_id": TEXT,
        "kind": TEXT,
        "iteration": INDEX,
        "prompt_id": TEXT,
        "chosen": TEXT,
        "rejected": TEXT,
    },
    ("prompt_id", "pair_id"),
)
REWARD_TRAINING = Table(
    "reward_training",
    {
        "pair_id": TEXT,
        "step": INDEX,
        "epoch": INDEX,
        "reward_chosen": NUMBER,
        "reward_rejected": NUMBER,
        "reward_margin": NUMBER,
        "correct": FLAG,
    },
    ("step", "pair_id"),
)
GENERATIONS = Table(
    "generations",
    {
        "prompt_id": TEXT,
        "response_index": INDEX,
        "response": TEXT,
        "token_ids": TOKENS,
        "length_tokens": INDEX,
        "length_chars": INDEX,
        "finish_reason": TEXT,
        "seed": INDEX,
        "gold": NUMBER,
        "passed": FLAG,
        "reward_r0": NUMBER,
        "reward_rt": NUMBER,
        "reason": TEXT,
    },
    ("prompt_id", "response_index"),
    frozenset({"gold", "passed", "reward_r0", "reward_rt"}),
)
JUDGEMENTS = Table(
    "judgements",
    {
        "prompt_id": TEXT,
        "response_index": INDEX,
        "system_a": TEXT,
        "system_b": TEXT,
        "judge": TEXT,
        "order": INDEX,
        "outcome": NUMBER,
        "raw_a": NUMBER,
        "raw_b": NUMBER,
        "parse_ok": FLAG,
        "length_a": INDEX,
        "length_b": INDEX,
    },
    ("judge", "system_b", "prompt_id", "response_index"),
    frozenset({"raw_a", "raw_b"}),
)
RM_SCORES = Table(
    "rm_scores",
    {
        "set": TEXT,
        "pair_id": TEXT,
        "subset": TEXT,
        "prompt_id": TEXT,
        "reward_model": TEXT,
        "reward_chosen": NUMBER,
        "reward_rejected": NUMBER,
        "length_chosen": INDEX,
        "length_rejected": INDEX,
    },
    ("set", "reward_model", "prompt_id", "pair_id"),
    frozenset({"reward_chosen", "reward_rejected"}),
)
GOLD_PAIRS = Table(
    "gold_pairs",
    {
        "prompt_id": TEXT,
        "messages": MESSAGES,
        "chosen": TEXT,
        "rejected": TEXT,
        "gold_chosen": NUMBER,
        "gold_rejected": NUMBER,
        "part": TEXT,
    },
    ("prompt_id",),
)
SEED_PAIRS = replace(GOLD_PAIRS, name="seed_pairs")

EXCHANGED = (
    RESPONSES,
    REWARDS,
    RANKED_PAIRS,
    DUELS,
    PREVIOUS_ANSWERS,
    ANSWERS,
    ANSWER_REWARDS,
    PSEUDO_PAIRS,
    REWARD_PAIRS,
)


def write(
    folder: Path,
    table: Table,
    rows: pa.Table | Mapping[str, object],
    provenance: Mapping[str, object],
    active: bool = True,
) -> Path:
    """Write a table to `folder/<name>.parquet`, sorted by its keys, whole or not at all.

    Args:
        folder: where to.
        table: its schema.
        rows: columns by name, in any order of rows.
        provenance: digests of the direct inputs' rows and the params that decide the result.
        active: False marks a table that is empty because the iteration is stopped.

    Returns:
        The path of the file.

    Raises:
        InputError: a key occurs twice, there is no row although the iteration is active, or a
            column has more text than Arrow can hold.
    """
    path = table.path(folder)
    write_bytes(path, encode(table, rows, provenance, active, path))
    return path


def encode(
    table: Table,
    rows: pa.Table | Mapping[str, object],
    provenance: Mapping[str, object],
    active: bool,
    path: Path,
) -> bytes:
    """Serialise a table as `write` does; `path` is for messages."""
    columns = rows if isinstance(rows, pa.Table) else pa.table(dict(rows), schema=table.schema)
    names = [*table.columns, *(name for name in table.switched if name in columns.column_names)]
    whole = columns.select(names).cast(table.schema_of(names))
    _check_texts(whole, path)
    data = table.sorted(whole.combine_chunks())
    if active and not len(data):
        raise InputError(f"{path}: would have no row; expected at least one")
    _check_distinct(data, table, path)
    columns_sha256 = column_digests(data)
    metadata = {
        "mutual_taught.version": VERSION,
        "mutual_taught.rows_sha256": joined(columns_sha256),
        "mutual_taught.columns_sha256": json.dumps(columns_sha256),
        "mutual_taught.active": json.dumps(active),
        "mutual_taught.provenance": json.dumps(provenance, sort_keys=True),
    }
    buffer = io.BytesIO()
    pq.write_table(
        data.replace_schema_metadata(metadata),
        buffer,
        compression="zstd",
        row_group_size=ROW_GROUP,
    )
    return buffer.getvalue()


def read(path: Path, table: Table) -> pa.Table:
    """Read a table and check its columns, keys, nulls and numbers.

    Raises:
        MissingFileError: there is no such file.
        InputError: it is no Parquet file, is of another version of the tables, lacks a column, has
            the wrong type, a null, a number that is NaN or infinite, or a repeated key, or is empty
            although its iteration is not stopped.
    """
    data = _read_parquet(path)
    _check_version(data, path)
    for name, kind in table.kinds.items():
        if name not in data.column_names:
            if name in table.switched:
                continue
            raise InputError(
                f"{path} lacks column {name!r} ({kind}); it has {', '.join(data.column_names)}"
            )
        if data.schema.field(name).type != kind:
            raise InputError(
                f"{path}: column {name!r} is {data.schema.field(name).type}; expected {kind}"
            )
        if data[name].null_count and name not in table.nullable:
            raise InputError(f"{path}: column {name!r} has {data[name].null_count} nulls")
        if kind == NUMBER:
            _check_finite(data, name, path)
    if not len(data) and is_active(data):
        raise InputError(f"{path} has no row; expected at least one; delete it and run dvc repro")
    _check_distinct(data, table, path)
    return data


def _read_parquet(path: Path) -> pa.Table:
    try:
        with pq.ParquetFile(path) as file:  # column by column: each is one chunk from the start
            data = file.read()
    except FileNotFoundError:
        raise MissingFileError(f"{path} does not exist; run dvc repro or dvc pull {path}") from None
    except (pa.ArrowInvalid, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{path}: not readable as Parquet ({reason})") from None
    _check_texts(data, path)
    return data.combine_chunks()


def _check_version(data: pa.Table, path: Path) -> None:
    """Refuse what another version of this package wrote; a table of the user's own has none."""
    said = (data.schema.metadata or {}).get(b"mutual_taught.version", VERSION.encode())
    if said.decode(errors="replace") != VERSION:
        remedy = "run dvc repro, or dvc repro -f with its stage if that is up to date"
        if path.name == "seed_preferences.parquet":
            remedy = "make it anew with mutual-taught seed-preferences"
        raise InputError(
            f"{path} is of version {said.decode(errors='replace')[:20]!r} of the tables; expected "
            f"{VERSION!r}; {remedy}"
        )


def is_active(data: pa.Table) -> bool:
    """Tell whether a table's iteration was active when it was made (True where nothing says)."""
    return bool((data.schema.metadata or {}).get(b"mutual_taught.active") != b"false")


def provenance(data: pa.Table) -> dict[str, Any]:
    """Read what a table says it was made from."""
    return _said(data, "provenance")


def column_digests(data: pa.Table) -> dict[str, str]:
    """Hash every column's values, whatever the metadata and chunks."""
    return {name: column_sha256(data[name]) for name in data.column_names}


def rows_digest(data: pa.Table) -> str:
    """Hash a table's rows (columns, order, values), whatever its metadata and chunks."""
    return joined(column_digests(data))


def joined(columns: Mapping[str, str]) -> str:
    """Make the digest of a table's rows from those of its columns."""
    return hashlib.sha256(json.dumps(list(columns.items())).encode()).hexdigest()


def said_digests(data: pa.Table) -> dict[str, Any]:
    """Read what a table says its digests are: of the `rows`, and of its `columns` by name."""
    rows = (data.schema.metadata or {}).get(b"mutual_taught.rows_sha256", b"")
    return {"rows": rows.decode(errors="replace"), "columns": _said(data, "columns_sha256")}


def _said(data: pa.Table, name: str) -> dict[str, Any]:
    """Read a mapping from a table's metadata.

    Raises:
        InputError: there is none.
    """
    text = (data.schema.metadata or {}).get(f"mutual_taught.{name}".encode(), b"null")
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise InputError(
            f"the table of {', '.join(data.column_names)}: its metadata mutual_taught.{name} is "
            f"{text.decode(errors='replace')[:40]}; expected a mapping; run dvc repro"
        )
    return found


def digests(**inputs: pa.Table) -> dict[str, str]:
    """Name the row digests of inputs, as provenance."""
    key = b"mutual_taught.rows_sha256"
    return {
        name: (data.schema.metadata or {}).get(key, b"").decode() or rows_digest(data)
        for name, data in inputs.items()
    }


def empty(folder: Path, *kinds: Table) -> None:
    """Write the tables of a stopped iteration: no rows, marked inactive."""
    for table in kinds:
        write(folder, table, table.schema.empty_table(), {}, active=False)


def renamed(table: Table, name: str) -> Table:
    """Give a table's schema another file name."""
    return replace(table, name=name)


def split(name: str) -> Table:
    """Give the table of the prompts of a split; it lies in `run/0/splits`."""
    return renamed(PROMPTS, name)


def numbers(values: NDArray[np.float64]) -> pa.Array:
    """Make a column of numbers: null where there is none (NaN). Read back, a null is NaN again."""
    return pa.array(values, NUMBER, from_pandas=True)


def _check_texts(data: pa.Table, path: Path) -> None:
    """Refuse a column that Arrow could not hold in one piece, which sorting and joining need."""
    for name in data.column_names:
        if (size := _text_bytes(data[name])) > TEXT_BYTES:
            raise InputError(
                f"{path}: column {name!r} has {size:,} bytes of text; expected at most "
                f"{TEXT_BYTES:,}; take fewer prompts (data.splits) or responses a prompt"
            )


def _text_bytes(column: pa.ChunkedArray) -> int:
    """Count the bytes of a column's texts, in a list, too; of several fields, those of the most."""
    kind = column.type
    if pa.types.is_string(kind):
        return pc.sum(pc.binary_length(column)).as_py() or 0
    if pa.types.is_list(kind):
        return _text_bytes(pc.list_flatten(column))
    if pa.types.is_struct(kind):
        return max(_text_bytes(pc.struct_field(column, [at])) for at in range(kind.num_fields))
    return 0


def _check_finite(data: pa.Table, name: str, path: Path) -> None:
    if pc.all(pc.is_finite(data[name])).as_py() is False:  # nulls do not count
        row = pc.is_finite(data[name]).to_pylist().index(False)
        raise InputError(
            f"{path}: row {row + 1}: {name} is {data[name][row].as_py()}; expected a number"
        )


def _check_distinct(data: pa.Table, table: Table, path: Path) -> None:
    if len(data) < 2:
        return
    repeated = pa.chunked_array([pa.array(np.ones(len(data) - 1, bool))])
    for key in table.keys:
        column = data[key].combine_chunks()
        repeated = pc.and_(repeated, pc.equal(column[1:], column[:-1]))
    if pc.any(repeated).as_py():
        row = repeated.to_pylist().index(True)
        values = ", ".join(f"{key} {data[key][row].as_py()!r}" for key in table.keys)
        raise InputError(f"{path}: row {row + 2}: {values} occurs twice")
