"""Prompts from the embedded templates, a file, or a hub data set: those fit, and why others not."""

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from mutual_taught.artifacts.schemas import ALL_PROMPTS, DROPPED_PROMPTS, GOLD_PAIRS
from mutual_taught.artifacts.tables import read as read_table
from mutual_taught.config.inputs import Columns, Data, Given
from mutual_taught.errors import InputError, first_line
from mutual_taught.method.splits import assign_splits
from mutual_taught.prepare import conversations, rows
from mutual_taught.prepare import embedded as prompts
from mutual_taught.prepare.conversations import BadRowError, Prompt
from mutual_taught.prepare.rows import DataRow
from mutual_taught.terminal.progress import bar
from mutual_taught.terminal.signs import excerpt

POOL = 4096  # embedded prompts made, whatever the splits take of them
EMBEDDED = Columns(messages=None, prompt="prompt", chosen=None, rejected=None)
REASONS_SHOWN, ROWS_SHOWN = 10, 5
SplitPlan = tuple[dict[str, float], dict[str, int | None]]
Screen = Callable[[Prompt], str]  # the reason why the models cannot read it, or nothing


class Dropped(NamedTuple):
    """A row that is left out: its number, a word of `conversations.REASONS`, how it begins."""

    row: int
    reason: str
    excerpt: str


class Read(NamedTuple):
    """What a source has: the prompts by the number of their rows, and the dropped rows."""

    kept: dict[int, Prompt]
    dropped: list[Dropped]

    @property
    def rows(self) -> int:
        """Count all rows."""
        return len(self.kept) + len(self.dropped)


def read(data: Data, seed: int, screen: Screen) -> Read:
    """Read all rows of the source in one pass.

    Of rows with the same prompt the first that is fit for use is kept, and the kept prompts are
    those of the file without its bad rows.

    Args:
        data: where prompts come from, and what becomes of bad rows.
        seed: the run's global seed, for the embedded prompts.
        screen: says why the models cannot read a prompt; empty if they can.

    Raises:
        InputError: the file as a whole cannot be read; or it has more bad rows than `data` allows,
            with the commonest reasons and their rows; or no row at all.
        MissingFileError: the file is not there.
    """
    source, columns, listed = _open(data, seed)
    found = _collected(listed, columns, source, screen)
    if not found.rows:
        raise InputError(f"{data.path}: holds no prompt; expected at least one for every split")
    _require_few(data, data.path, found)
    return found


def _collected(listed: Iterable[DataRow], columns: Columns, source: str, screen: Screen) -> Read:
    """Read rows as prompts; of those that are the same prompt the first that is fit is kept."""
    found = Read({}, [])
    known: set[str] = set()
    with bar("reading prompts", None, "rows") as progress:
        for row in listed:
            try:
                prompt = _prompt(row, columns, source, known, screen)
                known.add(prompt.prompt_id)
                found.kept[row.number] = prompt
            except BadRowError as bad:
                found.dropped.append(Dropped(row.number, bad.reason, excerpt(bad.text)))
            progress.update()
    return found


def again(data: Data, seed: int) -> Iterator[tuple[tuple[str, int], Prompt | None, object]]:
    """Read all rows of the source once more, whether or not the models can read them.

    Returns:
        The file and the number of each row, those of `data.given`, too; its prompt if it is one;
        and what shows it in an excerpt.
    """
    opened = [(data.path, _open(data, seed))]
    if data.given is not None:
        opened.append((data.given.path, _open_given(data.given)))
    for path, (source, columns, listed) in opened:
        for row in listed:
            try:
                prompt = _parsed(row, columns, source)
                yield (path, row.number), prompt, prompt.messages[-1]["content"]
            except BadRowError as bad:
                yield (path, row.number), None, bad.text


def _parsed(row: DataRow, columns: Columns, source: str) -> Prompt:
    if row.reason:
        raise BadRowError(row.reason, row.text)
    return conversations.read_prompt(row.values, columns, source)


def _prompt(
    row: DataRow, columns: Columns, source: str, known: Iterable[str], screen: Screen
) -> Prompt:
    prompt = _parsed(row, columns, source)
    text = prompt.messages[-1]["content"]
    if prompt.prompt_id in known:
        raise BadRowError("duplicate", text)
    if reason := screen(prompt):
        raise BadRowError(reason, text)
    return prompt


def allowed(bad: int, rows: int, data: Data) -> bool:
    """Tell whether a source may have so many bad rows; exactly the share is allowed.

    Shares are compared, because a product would be rounded: 0.29 * 100 is below 29.
    """
    most = data.max_dropped_share if data.on_bad_row == "drop" else 0.0
    return bad / rows <= most


def _require_few(data: Data, path: str, found: Read) -> None:
    """Refuse a source with too many bad rows, all reasons at once."""
    bad = len(found.dropped)
    if allowed(bad, found.rows, data) and found.kept:
        return
    expected = f"at most {data.max_dropped_share:g} of them (data.max_dropped_share)"
    if data.on_bad_row == "refuse":
        expected = "none (data.on_bad_row is 'refuse')"
    elif not found.kept:
        expected = "at least one that can"
    raise InputError(
        f"{path}: {bad} of {found.rows} rows cannot be used: {_reasons(found.dropped)}; "
        f"expected {expected}; mend or remove them, or change that"
    )


def _reasons(dropped: Iterable[Dropped]) -> str:
    """Name the commonest reasons with their first rows."""
    by_reason: dict[str, list[int]] = defaultdict(list)
    for row in dropped:
        by_reason[row.reason].append(row.row)
    listed = sorted(by_reason.items(), key=lambda item: (-len(item[1]), item[0]))
    shown = [
        f"{len(numbers)} {reason} ({conversations.REASONS[reason]}: {_numbers(numbers)})"
        for reason, numbers in listed[:REASONS_SHOWN]
    ]
    if len(listed) > REASONS_SHOWN:
        shown.append(f"{len(listed) - REASONS_SHOWN} more reasons")
    return ", ".join(shown)


def _numbers(rows: list[int]) -> str:
    more = f" and {len(rows) - ROWS_SHOWN} more" if len(rows) > ROWS_SHOWN else ""
    return f"row{'s' * (len(rows) > 1)} {', '.join(map(str, rows[:ROWS_SHOWN]))}{more}"


def read_given(data: Data, screen: Screen) -> Read:
    """Read the preferences of `data.given`: the rows of its part; none without such a file.

    Raises:
        InputError: as `read`; or no row is of the part.
    """
    if data.given is None:
        return Read({}, [])
    path, part = data.given.path, data.given.part
    source, columns, listed = _open_given(data.given)
    found = _collected(listed, columns, source, screen)
    if not found.rows:
        raise InputError(
            f"{path}: holds no row of part {part!r}; expected some; see data.given.part"
        )
    _require_few(data, path, found)
    return found


def tables(data: Data, seed: int, screen: Screen) -> tuple[pa.Table, pa.Table, int]:
    """Read the prompts and give each its split.

    Returns:
        Rows of `prompts` (with the number of each one's row) and of `dropped_prompts`, and how
        many rows the source has.
    """
    found, given = read(data, seed, screen), read_given(data, screen)
    splits = _split(found, split_plan(data), seed)
    if data.given is not None:
        splits = {name: split for name, split in splits.items() if not split.startswith("policy_")}
    own = _rows(found, splits)
    kept = [*own, *_rows(given, _split(given, given_plan(data), seed) if given.kept else {})]
    dropped = [
        {"file": path, **row._asdict()}
        for path, source in ((data.path, found), (data.given and data.given.path, given))
        for row in source.dropped
    ]
    return (
        pa.Table.from_pylist(kept, ALL_PROMPTS.schema),
        pa.Table.from_pylist(dropped, DROPPED_PROMPTS.schema),
        found.rows + given.rows,
    )


def _split(found: Read, plan: SplitPlan, seed: int) -> dict[str, str]:
    """Name the split of every prompt that one takes."""
    ids = [prompt.prompt_id for prompt in found.kept.values()]
    splits = assign_splits(ids, *plan, seed)
    return {prompt: name for name, members in splits.items() for prompt in members}


def _rows(found: Read, splits: Mapping[str, str]) -> list[dict[str, object]]:
    return [
        {**prompt._asdict(), "split": splits[prompt.prompt_id], "row": number}
        for number, prompt in found.kept.items()
        if prompt.prompt_id in splits
    ]


def by_split(prompts: pa.Table) -> dict[str, pa.Table]:
    """Part the prompts into what stages read: all parts of policy together, and the others."""
    names = prompts["split"]
    others = {
        split: prompts.filter(pc.equal(names, split)) for split in ("reward", "selection", "eval")
    }
    return {"policy": prompts.filter(pc.starts_with(names, "policy_")), **others}


def trained_on(splits: Mapping[str, pa.Table]) -> set[str]:
    """Name the prompts of the splits that models are trained on or selected by."""
    parts = ("policy", "reward", "selection")
    return {prompt for name in parts for prompt in splits[name]["prompt_id"].to_pylist()}


def counts(splits: pa.ChunkedArray, reasons: pa.ChunkedArray, rows: int) -> dict[str, float]:
    """Count the rows, the dropped ones by reason, and the prompts of every split."""
    dropped = {f"dropped_{reason}": count for reason, count in _counted(reasons).items()}
    prompts = {f"prompts_{split}": count for split, count in _counted(splits).items()}
    return {"rows": float(rows), "dropped": float(len(reasons)), **dropped, **prompts}


def _counted(values: pa.ChunkedArray) -> dict[str, float]:
    return {row["values"]: float(row["counts"]) for row in pc.value_counts(values).to_pylist()}


def summary(metrics: dict[str, float]) -> list[str]:
    """Say in one line what was dropped; in none if nothing was."""
    reasons = [
        f"{name.removeprefix('dropped_')} {count:.0f}"
        for name, count in sorted(metrics.items())
        if name.startswith("dropped_")
    ]
    total = f"{metrics['dropped']:.0f} of {metrics['rows']:.0f} rows"
    return [f"prepare_prompts: {total} dropped ({', '.join(reasons)})"] if reasons else []


def read_subset(data: Data, screen: Screen) -> Read:
    """Read a subset of a data set of the hub, as `read` does: `data.subset` of `data.path`.

    Raises:
        InputError: it cannot be had.
    """
    needed = conversations.needed(data.columns)
    listed = rows.keyed(_hub(data), needed, data.path)
    return _collected(listed, data.columns, data.path, screen)


def gold_pairs(path: Path | None) -> pa.Table:
    """Read the held-out gold pairs; no row where there is no file."""
    return GOLD_PAIRS.schema.empty_table() if path is None else read_table(path, GOLD_PAIRS)


def given_plan(data: Data) -> SplitPlan:
    """Name every policy part with its share of the given preferences, and its size."""
    parts = [f"policy_{part}" for part in range(1, data.policy_parts + 1)]
    return dict.fromkeys(parts, 1 / data.policy_parts), dict.fromkeys(
        parts, data.splits.policy.prompts
    )


def split_plan(data: Data) -> SplitPlan:
    """Name every split with its share of the prompts and its size."""
    parts = [f"policy_{part}" for part in range(1, data.policy_parts + 1)]
    splits = data.splits
    shares = dict.fromkeys(parts, splits.policy.share / data.policy_parts)
    sizes: dict[str, int | None] = dict.fromkeys(parts, splits.policy.prompts)
    for name in ("reward", "selection", "eval"):
        split = getattr(splits, name)
        shares[name], sizes[name] = split.share, split.prompts
    return shares, sizes


def require_watched(folder: Path) -> None:
    """Refuse linked folders: DVC follows linked files, and does not see into linked folders.

    Raises:
        InputError: the folder, or one inside it, is a link.
    """
    inside = (Path(place) / name for place, names, _ in os.walk(folder) for name in names)
    for place in (folder, *sorted(inside)):
        if place.is_symlink():
            raise InputError(
                f"{place} is a linked folder, and DVC does not see what changes in it; expected "
                "a folder, or links to files; move it here or link its files"
            )


def _open(data: Data, seed: int) -> tuple[str, Columns, Iterator[DataRow]]:
    """Give what the source is called in `prompts`, its columns and its rows."""
    if data.source == "embedded":
        return "embedded", EMBEDDED, _embedded(data, seed)
    needed = conversations.needed(data.columns)
    if data.source == "hub":
        return data.path, data.columns, rows.keyed(_hub(data), needed, data.path)
    path = Path(data.path)
    listed = rows.read(path, needed, conversations.INSTRUCTION_COLUMNS)
    return path.name, data.columns, listed


def _open_given(given: Given) -> tuple[str, Columns, Iterator[DataRow]]:
    """Give what preferences are called in `prompts`, their columns and the rows of a part."""
    path, part = Path(given.path), given.part
    needed = [*conversations.needed(given.columns), *([] if part is None else ["part"])]
    listed = rows.read(path, needed, conversations.INSTRUCTION_COLUMNS)
    of_part = (row for row in listed if part is None or row.reason or row.values["part"] == part)
    return path.name, given.columns, of_part


def _embedded(data: Data, seed: int) -> Iterator[DataRow]:
    templates = prompts.read_templates(Path(data.path))
    _, sizes = split_plan(data)
    if None in sizes.values():
        raise InputError(
            "params.yaml: data.splits has prompts null; expected a number with source embedded"
        )
    for number, row in enumerate(prompts.expand(templates, POOL, seed, "run"), 1):
        yield DataRow(number, row)


def _hub(data: Data) -> Iterator[DataRow]:
    from datasets import load_dataset

    try:
        listed = load_dataset(
            data.path, split=data.subset, revision=data.revision, trust_remote_code=False
        )
    except Exception as error:  # the hub's clients raise many kinds, all of them the user's
        raise InputError(
            f"data set {data.path!r} at {data.revision}: {first_line(error)}; "
            "expected it on the hub; check the id and the network"
        ) from None
    for number, row in enumerate(listed, 1):
        yield DataRow(number, dict(row))
