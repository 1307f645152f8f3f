"""The story of one record: everything a run knows of a prompt, or of a training pair."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from mutual_taught.artifacts import files, tables
from mutual_taught.errors import InputError, MissingFileError

Record = dict[str, Any]
SHORTEST = 6
TOKENS = ("token_ids", "previous_token_ids")


def prompt(run: Path, prefix: str) -> Record:
    """Collect all that happened to a prompt.

    Args:
        run: folder of the run.
        prefix: a prompt id, or its first six or more characters.

    Returns:
        `prompt_id`, `messages`, `split`, `source` and `row`, and under `iterations` what each
        iteration holds of it: rows of the tables by name, `learnt_by` the models that were
        trained on it.

    Raises:
        MissingFileError: there is no run.
        InputError: no prompt, or several, begin so.
    """
    found = _one(run / "0", tables.ALL_PROMPTS, "prompt_id", prefix)
    name = found["prompt_id"]
    story: Record = {
        "prompt_id": name,
        "messages": found["messages"],
        "split": found["split"],
        "source": found["source"],
        "row": found["row"],
        "iterations": {},
    }
    for folder in files.iterations(run):
        happened: Record = {table.name: _rows(folder, table, name) for table in tables.EXCHANGED}
        happened["generations"] = _rows(folder / "eval", tables.GENERATIONS, name)
        happened = {table: rows for table, rows in happened.items() if rows}
        if happened:
            happened["learnt_by"] = _learnt_by(run, folder, happened)
            story["iterations"][folder.name] = happened
    return story


def pair(run: Path, prefix: str) -> Record:
    """Tell why a pair is among those a reward model was trained on.

    Args:
        run: folder of the run.
        prefix: a pair id, or its first six or more characters.

    Raises:
        MissingFileError: there is no run.
        InputError: no pair, or several, begin so.
    """
    for folder in files.iterations(run):
        path = tables.REWARD_PAIRS.path(folder)
        rows = _begins(folder, tables.REWARD_PAIRS, "pair_id", prefix) if path.exists() else []
        own = [row for row in rows if str(row["iteration"]) == folder.name]
        if len(own) > 1:
            raise _several(prefix, [row["pair_id"] for row in own], path)
        if own:
            name = own[0]["prompt_id"]
            if own[0]["kind"] == "seed":
                return _seed(run, folder, own[0])
            ranked = own[0]["kind"] == "ranked"
            source = tables.RANKED_PAIRS if ranked else tables.PSEUDO_PAIRS
            why: Record = {**own[0], "learnt_by": _trained_on(run, own[0]["pair_id"])}
            why["decided_by"] = _must(folder, source, name)[0]
            why["rule"] = _rule(folder, source, "chosen" if ranked else "filter")
            if ranked:
                made = made_from(folder, source)
                why["length_slope"] = made.get("length_slope")
                why["ended_only"] = made.get("ended_only", False)
                why["rewards"] = [row["reward"] for row in _must(folder, tables.REWARDS, name)]
                drawn = _must(folder, tables.RESPONSES, name)
                why["lengths"] = [row["length_tokens"] for row in drawn]
            else:
                why["tolerance"] = _rule(folder, source, "tolerance")
            return why
    raise InputError(f"{run}: no pair id begins with {prefix!r}; see run/*/reward_pairs.parquet")


def _seed(run: Path, folder: Path, own: Record) -> Record:
    """Tell why a pair that r_0 was trained on is in a later mix, too."""
    return {
        **own,
        "learnt_by": _trained_on(run, own["pair_id"]),
        "decided_by": _must(run / "0", tables.SEED_PAIRS, own["prompt_id"])[0],
        "rule": _rule(folder, tables.REWARD_PAIRS, "seed_preferences"),
    }


def _one(folder: Path, table: tables.Table, column: str, prefix: str) -> Record:
    path, rows = table.path(folder), _begins(folder, table, column, prefix)
    if not rows:
        raise InputError(f"{path}: no {column} begins with {prefix!r}; expected one that is there")
    if len(rows) > 1:
        raise _several(prefix, [row[column] for row in rows], path)
    return rows[0]


def _several(prefix: str, names: list[str], path: Path) -> InputError:
    return InputError(
        f"{path}: {len(names)} ids begin with {prefix!r} ({names[0]}, {names[1]}, …); "
        "expected one; give more of it"
    )


def _begins(folder: Path, table: tables.Table, column: str, prefix: str) -> list[Record]:
    """Read the rows whose id begins so; files are sorted by prompt, so few row groups are read."""
    if len(prefix) < SHORTEST or not set(prefix) <= set("0123456789abcdef"):
        raise InputError(
            f"{prefix!r} is no id; expected {SHORTEST} to 32 digits 0-9, a-f, as in the tables"
        )
    field = pc.field(column)
    return _read(folder, table, (field >= prefix) & (field < prefix + "g"))


def _rows(folder: Path, table: tables.Table, name: str) -> list[Record]:
    there = table.path(folder).exists()
    return _read(folder, table, pc.field("prompt_id") == name) if there else []


def _must(folder: Path, table: tables.Table, name: str) -> list[Record]:
    """Read a prompt's rows of a table that must have some."""
    found = _read(folder, table, pc.field("prompt_id") == name)
    if not found:
        raise InputError(f"{table.path(folder)} has no row for prompt {name!r}; run dvc repro")
    return found


def _rule(folder: Path, table: tables.Table, name: str) -> Any:
    """Read what a table was decided by from its provenance."""
    named = made_from(folder, table)
    if name not in named:
        raise InputError(f"{table.path(folder)}: its provenance lacks {name}; run dvc repro")
    return named[name]


def made_from(folder: Path, table: tables.Table) -> dict[str, Any]:
    """Read a table's provenance, without its rows."""
    return tables.provenance(pq.read_schema(table.path(folder)).empty_table())


def _read(folder: Path, table: tables.Table, condition: pc.Expression) -> list[Record]:
    path = table.path(folder)
    if not path.exists():
        raise MissingFileError(f"{path} does not exist; run dvc repro or dvc pull {path}")
    try:
        source = ds.dataset(path, format="parquet")
        names = [name for name in source.schema.names if name not in TOKENS]
        if lacking := [name for name in table.columns if name not in source.schema.names]:
            raise InputError(f"{path} lacks column {lacking[0]!r}; run dvc repro")
        return list(source.to_table(columns=names, filter=condition).to_pylist())
    except (pa.ArrowException, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{path}: not readable as its stage wrote it ({reason})") from None


def _learnt_by(run: Path, folder: Path, happened: Mapping[str, list[Record]]) -> list[str]:
    """Name the models that were trained on the prompt's pairs of an iteration."""
    learnt = []
    if any(row["kept"] for row in happened.get("ranked_pairs", [])):
        learnt.append(str(folder / "checkpoints"))
    for row in happened.get("reward_pairs", []):
        learnt += _trained_on(run, row["pair_id"])
    return sorted(set(learnt))


def _trained_on(run: Path, pair: str) -> list[str]:
    """Name the reward models whose training met a pair."""
    condition = pc.field("pair_id") == pair
    table = tables.REWARD_TRAINING
    there = [folder for folder in files.iterations(run) if table.path(folder).exists()]
    met = [folder for folder in there if _read(folder, table, condition)]
    return [str(folder / "reward_model") for folder in met]
