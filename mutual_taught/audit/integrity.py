"""Whether files hold what they say they hold: tables their digests, models their manifests."""

from pathlib import Path

from mutual_taught.artifacts import files, tables
from mutual_taught.artifacts.manifests import MANIFEST, read_manifest
from mutual_taught.audit.faults import Fault, Faults
from mutual_taught.audit.run import Run


def altered(run: Run, path: Path, table: tables.Table) -> Faults:
    """A table hashes to what it says, column by column, and its rows are in order."""
    data = run.table(path, table)
    stated = tables.said_digests(data)
    for name, value in run.columns(path, table).items():
        if stated["columns"].get(name) != value:
            yield Fault(path, f"column {name}", "altered since it was written", "its digest")
    if stated["rows"] != run.digest(path, table):
        yield Fault(path, "the whole", "altered since it was written", "its digest")
    keys = data.select(list(table.keys))
    if not keys.equals(table.sorted(keys)):
        yield Fault(path, "the order of rows", "another", f"by {', '.join(table.keys)}")


def models(folder: Path) -> Faults:
    """Every model's files hash to what its manifest says."""
    for path in sorted(folder.rglob(MANIFEST)):
        listed = read_manifest(path.parent).files
        there = {
            file.relative_to(path.parent).as_posix()
            for file in path.parent.rglob("*")
            if file.is_file() and file != path
        }
        for name in sorted(there ^ set(listed)):
            state = "there" if name in there else "missing"
            yield Fault(path.parent / name, "the file", state, "what manifest.json lists")
        for name in sorted(there & set(listed)):
            if (actual := files.sha256(path.parent / name)) != listed[name]:
                yield Fault(path.parent / name, "sha256", actual[:12], listed[name][:12])
