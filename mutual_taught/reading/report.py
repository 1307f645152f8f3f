"""The report's page with what is of one machine: commit, versions, times, memory, cost."""

import importlib.metadata
import platform
from collections.abc import Iterator, Mapping
from pathlib import Path

from mutual_taught import __version__
from mutual_taught.artifacts import files
from mutual_taught.errors import MissingFileError
from mutual_taught.planning import rates
from mutual_taught.planning.schedule import spell
from mutual_taught.reading import run_state, status
from mutual_taught.report import contents, markdown, page
from mutual_taught.report.page import Grid, Section
from mutual_taught.report.pictures import costs, gallery
from mutual_taught.running.experiments import git

NAME = "report.html"
PACKAGES = ("torch", "transformers", "trl", "vllm", "dvc", "numpy", "pyarrow")
RATES = ("tokens", "answers", "pairs", "duels")  # the first that a stage counts is shown
HOUR = 3600.0


def write(run: Path, price: float | None) -> Path:
    """Write `report.html` into the folder of a run; it is no output of DVC.

    Args:
        run: the folder; nothing else in it is changed.
        price: of an hour of the machine, in any currency; None leaves the cost out.

    Returns:
        The path of the page.

    Raises:
        MissingFileError: no iteration has a report.
    """
    state = run_state.look(run)
    report = _last(run, state.leftovers)
    known = contents.read(report)
    given = status.setting(run)
    setting = contents.Setting(
        given.seed, given.win_rate_threshold, given.policy, given.reward_model
    )
    drawn = gallery.pictures(known.history, setting.seed or 0, setting.threshold)
    sections = contents.sections(known, setting, drawn)
    spent = _costs(rates.history(run), price)
    if state.changed:
        sections[0] = sections[0]._replace(alarms=[*sections[0].alarms, _changed(state.changed)])
    made = [section.id for section in sections].index("made")
    sections[made] = sections[made]._replace(facts=list(_facts()))
    sections[made:made] = [spent] if spent.filled else []
    files.write_bytes(run / NAME, page.render(contents.title(known.history), sections).encode())
    return run / NAME


def _last(run: Path, leftovers: tuple[str, ...]) -> Path:
    """Find the last iteration's report that is there, but for iterations of an earlier setting."""
    keys = [key for key in run_state.present(run) if key not in leftovers]
    there = [run / key / "report" for key in keys if (run / key / "report" / "data.json").exists()]
    if not there:
        raise MissingFileError(
            f"{run}: no iteration has a report; expected one; run dvc repro or dvc pull"
        )
    return there[-1]


def _changed(names: tuple[str, ...]) -> str:
    shown = ", ".join(names[:3]) + ", ..." * (len(names) > 3)
    return (
        f"params.yaml has changed since this run ({shown}): τ and seed here are those of the file."
    )


def _facts() -> Iterator[tuple[str, str]]:
    """Name the commit and the versions that are here now."""
    if commit := git("rev-parse", "HEAD"):
        changed = " with changes that are not committed" if git("status", "--porcelain") else ""
        yield "commit", commit.strip() + changed
    yield "machine", f"{platform.system()} {platform.machine()}"
    yield "mutual-taught", __version__
    yield "Python", platform.python_version()
    for name in PACKAGES:
        try:
            yield name, importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # vllm is there only where somebody installed it


def _costs(known: Mapping[str, rates.Numbers], price: float | None) -> Section:
    """Lay out what each stage took, stages in the order of the method, and all together."""
    order = sorted(known, key=_place)
    rows = [_row(stage, known[stage]) for stage in order]
    seconds = sum(numbers.get("seconds", 0.0) for numbers in known.values())
    peak = max((numbers.get("peak_memory_gb", 0.0) for numbers in known.values()), default=0.0)
    notes = [
        f"All stages together took {spell(seconds)}, without DVC. "
        f"The most memory was {peak:.1f} GiB."
    ]
    if price is not None:
        notes.append(f"At {price:g} an hour they cost {seconds / HOUR * price:.2f}.")
    head = ["stage", "time", "start", "a second", "peak memory"]
    grids = [Grid("What each stage took", head, rows)] if rows else []
    picture = costs.draw(costs.rows(known))
    drawn = [picture] if picture else []
    return Section("costs", "Time, memory and cost", tables=grids, notes=notes, pictures=drawn)


def _place(stage: str) -> tuple[int, int, str]:
    name, _, t = stage.partition("@")
    known = markdown.STAGES.index(name) if name in markdown.STAGES else -1
    return int(t or 0), known if t else -1, name


def _row(stage: str, numbers: Mapping[str, float]) -> list[str]:
    counted = next((name for name in RATES if f"{name}_per_second" in numbers), None)
    rate = "" if counted is None else f"{numbers[f'{counted}_per_second']:.1f} {counted}"
    start = f"{numbers['start_seconds']:.1f} s" if "start_seconds" in numbers else ""
    memory = f"{numbers['peak_memory_gb']:.2f} GiB" if "peak_memory_gb" in numbers else ""
    return [stage, f"{numbers.get('seconds', 0.0):.1f} s", start, rate, memory]
