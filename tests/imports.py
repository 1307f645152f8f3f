"""Which modules a stage's result depends on, read off the imports."""

import ast
from pathlib import Path

PACKAGE = "mutual_taught"
VERSION = "artifacts.version"  # of what carriers write: every stage depends on it
# What only moves data, speaks, locks or refuses. A folder stands for all its modules.
# `checks` refuses, or picks between ways that were found to agree; where shards are drawn and
# scored (cluster, the pools) changes no result.
CARRIERS = {
    "artifacts.decision",
    "artifacts.digests",
    "artifacts.files",
    "artifacts.joins",
    "artifacts.manifests",
    "artifacts.schemas",
    "artifacts.table",
    "artifacts.table_checks",
    "artifacts.tables",
    "checks",
    "cluster",
    "config.blocks",
    "config.fields",
    "config.inputs",
    "config.judging",
    "config.learning",
    "config.params",
    "errors",
    "evaluation.judges.asking",
    "evaluation.judges.endpoint",
    "evaluation.judges.store",
    "measuring.data",
    "pipeline",
    "sampling.agreement",
    "sampling.pool",
    "scoring.pool",
    "terminal.near",
    "terminal.process",
    "terminal.progress",
    "terminal.shortage",
}
# Folders that a stage depends on as a whole as soon as it imports one of their modules.
# Benchmarks are imported by their names, which no import spells.
BENCHMARKS = "evaluation.benchmarks"
WHOLE = ("models", "report", "sampling", "scoring", BENCHMARKS)


def module_of(path: Path) -> str:
    """Name a file's module within the package: `method.selection`."""
    return ".".join(path.with_suffix("").parts[1:]).removesuffix(".__init__")


def file_of(module: str) -> Path:
    """Locate a module's file, or a package's `__init__.py`."""
    path = Path(PACKAGE, *module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def modules_of(path: Path) -> set[str]:
    """Name the modules of the package that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == PACKAGE:
            base = str(node.module).split(".")[1:]
            for alias in node.names:
                inner = ".".join([*base, alias.name])
                found.add(inner if file_of(inner).exists() else ".".join(base))
    return found - {""}


def carries(module: str) -> bool:
    """Say whether a module decides no result."""
    return module in CARRIERS or module.split(".")[0] in CARRIERS


def folder_of(module: str) -> str:
    """Name the folder that a module is a dep as part of; nothing for one that is a dep itself."""
    return next((name for name in WHOLE if f"{module}.".startswith(f"{name}.")), "")


def deciding(stage: str) -> list[str]:
    """List what decides a stage's result: itself, the modules it imports, whole folders of them."""
    seen = {VERSION}
    todo = {name for name in modules_of(Path(f"stages/{stage}.py")) if not carries(name)}
    while todo:
        module = todo.pop()
        seen.add(module)
        if module == BENCHMARKS:
            todo |= {module_of(path) for path in file_of(module).parent.glob("*.py")} - seen
        todo |= {name for name in modules_of(file_of(module)) if not carries(name)} - seen
    whole = {str(Path(PACKAGE, *name.split("."))) for name in map(folder_of, seen) if name}
    files = {str(file_of(name)) for name in seen if not folder_of(name)}
    return [*sorted(whole | files), f"stages/{stage}.py"]
