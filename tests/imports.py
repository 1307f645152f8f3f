"""Which modules a stage's result depends on, read off the imports."""

import ast
from pathlib import Path

# `agreement` is among them: it refuses, or picks between ways that were found to agree.
CARRIERS = {
    "agreement", "blocks", "errors", "files", "hashing", "params", "perf", "process", "progress",
    "ray_pool", "tables", "watch", "work",
}  # fmt: skip


def modules_of(path: Path) -> set[str]:
    """Name the modules of the package that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "mutual_taught":
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("mutual_taught."):
            found.add(str(node.module).split(".")[1])
    return found


def deciding(stage: str) -> list[str]:
    """List the files that decide a stage's result: itself and all it imports, carriers apart."""
    seen: set[str] = set()
    todo = modules_of(Path(f"stages/{stage}.py")) - CARRIERS
    while todo:
        module = todo.pop()
        seen.add(module)
        todo |= modules_of(Path(f"mutual_taught/{module}.py")) - CARRIERS - seen
    return [f"mutual_taught/{name}.py" for name in sorted(seen)] + [f"stages/{stage}.py"]
