"""Several runs on one page: what differs, paired differences, and seeds together."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from mutual_taught.artifacts import files
from mutual_taught.method.statistics import Interval
from mutual_taught.reading import compare, comparison, runs
from mutual_taught.reading.compare import ComparisonRow
from mutual_taught.reading.runs import ComparedRun
from mutual_taught.report import before_after, contents, forest, page, story, words
from mutual_taught.report.before_after import Change
from mutual_taught.report.page import Grid, Picture, Section

NAME = "comparison.html"
PAIRED = (
    "Over the same prompts, answer by answer, seed by seed. Rewards are compared only where r_0 is "
    "the same."
)
REWARD = "mean reward, r_0"
STUDENT = "Mean and 95 % interval over seeds, after Student. One seed has no interval."


def write(names: Sequence[str], out: Path) -> tuple[Path, list[str]]:
    """Write a page over several runs; the first one is what the others are compared with.

    Args:
        names: experiments, commits or folders; none: the files here and all experiments.
        out: folder to write `comparison.html` into.

    Returns:
        The path of the page, and what the reader should know of the runs, a line each.

    Raises:
        InputError: a name is neither a folder with a run nor anything in git.
    """
    found = runs.read(names)
    against = found[0].name
    single = compare.single(found, against)
    pooled = compare.pooled(found, against)
    several = f"{len(found)} runs compared with {against}"
    title = f"Mutual-Taught, {several if len(found) > 1 else f'{against} alone'}"
    notes = [note for row in single for note in row.notes]
    files.write_bytes(out / NAME, page.render(title, sections(single, pooled, notes)).encode())
    return out / NAME, notes


def sections(
    single: Sequence[ComparisonRow], pooled: Sequence[ComparisonRow], notes: Sequence[str]
) -> list[Section]:
    """Lay out the page.

    Args:
        single: a row for each run, the baseline first.
        pooled: the same runs, those that differ only in `seed` in one row.
        notes: what could not be read, or does not fit.
    """
    seeds = any(len(compare.by_seed(row.runs)) > 1 for row in pooled)
    rows = pooled if seeds else single
    changes = {row.name: differences(row, rows[0]) for row in rows[1:]}
    found = [
        Section("story", "What differs", list(_story(changes, rows[0])), alarms=notes),
        Section(
            "parameters", "Parameters and numbers", tables=[_turned(comparison.table(rows, seeds))]
        ),
        Section(
            "differences",
            "Paired differences",
            tables=[_grid(name, found) for name, found in changes.items() if found],
            notes=[PAIRED],
        ),
        Section("pictures", "Pictures", pictures=list(_pictures(changes, rows[0].name))),
    ]
    if seeds:
        found.append(
            Section(
                "seeds",
                "Over seeds",
                tables=[_seeds(rows)],
                notes=[STUDENT],
            )
        )
    glossary = list(words.GLOSSARY.items())
    found.append(Section("glossary", "Glossary", facts=glossary, style="glossary"))
    return [section for section in found if section.filled]


def differences(row: ComparisonRow, base: ComparisonRow) -> list[Change]:
    """Compare a row's responses with the baseline's: seed by seed, over the prompts of both.

    Args:
        row: one run, or runs of several seeds.
        base: likewise; two single runs are compared whatever their seeds.

    Returns:
        Gold, all instructions followed, r_0's reward and length, those that both have. Rewards
        only where r_0 is the same on both sides: those of two models do not compare.
    """
    own, other = compare.by_seed(row.runs), compare.by_seed(base.runs)
    if len(row.runs) == len(base.runs) == 1:
        both = [(*other.values(), *own.values())]
    else:
        both = [(other[seed], run) for seed, run in own.items() if seed in other]
    pairs = [
        (before.generations, after.generations)
        for before, after in both
        if before.generations is not None and after.generations is not None
    ]
    found = before_after.responses(pairs, compare.SEED)
    same = all(_first_teacher(before) == _first_teacher(after) for before, after in both)
    return [change for change in found if same or change.name != REWARD]


def _first_teacher(run: ComparedRun) -> dict[str, object]:
    """List the parameters that r_0 follows from; a trained one also from policy and seed."""
    flat = dict(compare.leaves(run.values or {}))
    trained = flat.get("models.reward_model.source") == "trained"
    of = ("models.", "base_reward_model.", "seed") if trained else ("models.reward_model.",)
    return {key: value for key, value in flat.items() if key.startswith(of)}


def _story(changes: dict[str, list[Change]], base: ComparisonRow) -> Iterator[str]:
    if not changes:
        seeds = " with other seeds" if len(base.runs) > 1 else ""
        yield f"Nothing to compare: there is only {base.name}{seeds}."
    for name, found in changes.items():
        if not found:
            yield f"{name}: no answer to a prompt that {base.name} answered too, so no difference."
        for change in found:
            if change.name in ("gold", REWARD):
                yield story.moved(f"{name}: {change.name}", change, f"against {base.name}")
                break


def _turned(table: list[list[str]]) -> Grid:
    """Give the comparison a column for each run: names of parameters are long, runs are few."""
    head, *rows = [list(column) for column in zip(*table, strict=True)]
    return Grid("Each run", ["", *head[1:]], [row for row in rows if set(row[1:]) != {"–"}])


def _grid(name: str, changes: Sequence[Change]) -> Grid:
    return Grid(
        name,
        ["", "baseline", "here", "difference", "p", "prompts"],
        [contents.change_row(change) for change in changes],
    )


def _pictures(changes: dict[str, list[Change]], base: str) -> Iterator[Picture]:
    kinds = dict.fromkeys(change.name for found in changes.values() for change in found)
    for place, kind in enumerate(kinds):
        points: dict[str, Interval] = {
            name: change.difference
            for name, found in changes.items()
            for change in found
            if change.name == kind
        }
        title = f"Difference of {kind} from {base}"
        yield Picture(
            f"difference-{place}",
            forest.draw(f"difference-{place}", title, points),
            f"{title}, on the same prompts, with its 95 % interval. Right of the line is higher.",
        )


def _seeds(rows: Sequence[ComparisonRow]) -> Grid:
    names = dict.fromkeys(name for row in rows for name in row.numbers)
    return Grid(
        "Mean over seeds",
        ["", *(f"{row.name}, seeds: {len(compare.by_seed(row.runs))}" for row in rows)],
        [[name, *(_over(row, name) for row in rows)] for name in names],
    )


def _over(row: ComparisonRow, name: str) -> str:
    values = [
        run.summary[name]
        for run in compare.by_seed(row.runs).values()
        if run.summary and name in run.summary
    ]
    if not values:
        return comparison.NONE
    if len(values) == 1:
        return f"{values[0]:.3f}"
    return contents.interval(compare.over_seeds(values), 3)
