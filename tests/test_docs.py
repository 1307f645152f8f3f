"""The documents say what the code has, all of it and nothing else."""

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mutual_taught import tables
from mutual_taught.cli import main
from tests.project import ROOT, load_yaml

DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
LINK = re.compile(r"\[[^\]]*\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)")


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def leaves(values: Any, prefix: str = "") -> Iterator[str]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


def named_keys(text: str) -> set[str]:
    """List the keys a table names: `a.b`, `.c` stands for a.b and a.c."""
    found: set[str] = set()
    for line in text.splitlines():
        if not line.startswith("| `"):
            continue
        before = ""
        for name in re.findall(r"`([^`]+)`", line.split("|")[1]):
            before = name if not name.startswith(".") else f"{before.rpartition('.')[0]}{name}"
            found.add(before)
    return found


def test_every_parameter_is_described_and_no_other() -> None:
    values = load_yaml(ROOT / "params.yaml")
    del values["iterations"]
    named = {key for key in named_keys(read("docs/parameters.md")) if key.split(".")[0] in values}
    assert named == set(leaves(values))


@pytest.mark.parametrize("preset", ["laptop", "paper"])
def test_numbers_of_the_presets_are_those_of_the_files(preset: str) -> None:
    values = load_yaml(ROOT / "presets" / f"{preset}.yaml")
    column = {"laptop": 2, "paper": 3}[preset]
    checked = 0
    for line in read("docs/parameters.md").splitlines():
        cells = line.split("|")
        if not line.startswith("| `") or len(cells) <= column + 1:
            continue
        names = sorted(named_keys(line), key=lambda name: line.find(name.rpartition(".")[2]))
        shown = [cell.strip() for cell in cells[column].split(",")]
        if len(names) != len(shown):
            continue
        for name, text in zip(names, shown, strict=True):
            value: Any = values
            for part in name.split("."):
                value = value.get(part) if isinstance(value, dict) else None
            if isinstance(value, int | float) and not isinstance(value, bool):
                assert float(text) == float(value), name
                checked += 1
    assert checked > 20


def test_every_ablation_is_described_and_no_other() -> None:
    text = read("docs/parameters.md").split("## Ablations")[1]
    names = {path.stem for path in (ROOT / "presets" / "ablations").glob("*.yaml")}
    assert named_keys(text) == names


def test_every_stage_is_described_and_no_other() -> None:
    table = read("docs/pipeline.md").split("| stage |")[1].split("\n\n")[0]
    named = {name.removesuffix("@t") for name in re.findall(r"^\| `([^`]+)`", table, re.M)}
    assert named == set(load_yaml(ROOT / "dvc.yaml")["stages"])


def test_every_table_and_column_is_described() -> None:
    text = read("docs/artifacts.md")
    found = [value for value in vars(tables).values() if isinstance(value, tables.Table)]
    assert len(found) > 10
    for table in found:
        assert re.search(rf"^(### |- ){table.name}\b", text, re.M), table.name
        for column in table.columns:
            assert f"`{column}`" in text, (table.name, column)


def requirement(text: str) -> str:
    return re.split(r"[<>=\[ ]", text)[0]


def test_every_dependency_has_its_reason() -> None:
    project = tomllib.loads(read("pyproject.toml"))["project"]
    wanted = {requirement(name) for name in project["dependencies"]}
    text = read("docs/dependencies.md")
    assert set(re.findall(r"^\| ([a-z][\w.-]*) \|", text, re.M)) - {"package"} == wanted
    for extra in project["optional-dependencies"].values():
        for name in extra:
            assert requirement(name) in text, name


def test_dependencies_are_imported_somewhere() -> None:
    names = {"huggingface-hub": "huggingface_hub", "if-verifiable": "if_verifiable",
             "ruamel.yaml": "ruamel"}  # fmt: skip
    indirect = {"accelerate", "dvc", "gguf", "if-verifiable"}
    sources = [*(ROOT / "mutual_taught").glob("*.py"), *(ROOT / "stages").glob("*.py")]
    imported: set[str] = set()
    for path in sources:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                imported.add(node.module.split(".")[0])
    for name in tomllib.loads(read("pyproject.toml"))["project"]["dependencies"]:
        package = requirement(name)
        assert package in indirect or names.get(package, package) in imported, package


def anchors(text: str) -> set[str]:
    titles = re.findall(r"^#+ (.*)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    for target, anchor in LINK.findall(path.read_text(encoding="utf-8")):
        file = path.parent / target if target else path
        assert file.exists(), target
        assert not anchor or anchor in anchors(file.read_text(encoding="utf-8")), (target, anchor)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_commands_and_modules_exist(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", read("Makefile"), re.M))
    assert set(re.findall(r"(?:`|^    )make ([a-z][a-z-]*)", text, re.M)) <= targets
    named = re.findall(r"mutual-taught ([a-z][a-z-]+)", text)
    assert set(named) <= set(main.commands)
    for stage in re.findall(r"\bstages[./](\w+)", text):
        assert (ROOT / "stages" / f"{stage}.py").exists(), stage
    for module in re.findall(r"\bmutual_taught/(\w+)\.py", text):
        assert (ROOT / "mutual_taught" / f"{module}.py").exists(), module
    for bench in re.findall(r"\bbench[./](\w+)", text):
        assert (ROOT / "bench" / f"{bench}.py").exists(), bench


def test_functions_named_in_the_map_of_the_method_exist() -> None:
    rows = [line.split("|")[2] for line in read("docs/method.md").splitlines() if "|" in line]
    found = re.findall(r"`(\w+)\.(\w+)`", "".join(rows))
    assert len(found) > 10
    for module, name in found:
        tree = ast.parse(read(f"mutual_taught/{module}.py"))
        kinds = (ast.FunctionDef, ast.ClassDef)
        assert name in {n.name for n in ast.walk(tree) if isinstance(n, kinds)}, (module, name)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_nothing_is_left_to_fill_in(path: Path) -> None:
    assert not re.search(r"\b(TODO|TBD|FIXME|XXX)\b", path.read_text(encoding="utf-8"))
