"""The documents say what the code has, all of it and nothing else."""

import ast
import importlib.util
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from mutual_taught import __version__
from mutual_taught.artifacts import tables
from mutual_taught.cli import main
from mutual_taught.config import params
from mutual_taught.prepare import conversations
from tests import blocks
from tests.test_rooms import FLOORS

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = blocks.DOCUMENTS
TABLES = [value for value in vars(tables).values() if isinstance(value, tables.Table)]
PARAMS = params.read(ROOT / "params.yaml")
STAGES: dict[str, Any] = params.read(ROOT / "dvc.yaml")["stages"]
LINK = re.compile(r"\[[^\]]*\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)")
each_document = pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def section(text: str, title: str) -> str:
    """Cut out what stands under a heading, up to the next of its level or above."""
    found = re.search(rf"^(#+) {title}(?!\w).*\n", text, re.M)
    assert found, f"no heading {title!r}"
    return re.split(rf"^#{{1,{len(found[1])}}} ", text[found.end() :], maxsplit=1, flags=re.M)[0]


def rows(text: str) -> list[list[str]]:
    """List the cells of table rows that begin with a name in code."""
    lines = (line for line in text.splitlines() if line.startswith("| `"))
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def coded(text: str) -> list[str]:
    return re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S))


def keys(cell: str) -> list[str]:
    """List the keys a cell names: `a.b`, `.c` stands for a.b and a.c."""
    found: list[str] = []
    for name in coded(cell):
        found.append(f"{found[-1].rpartition('.')[0]}{name}" if name.startswith(".") else name)
    return found


def code(text: str) -> str:
    """Keep code only: what stands in backticks, and shell blocks."""
    shell = [block.text for block in blocks.parse("", text) if block.language == "sh"]
    return "\n".join([*coded(text), *shell])


def leaves(values: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


def described_keys() -> set[str]:
    text = read("docs/parameters.md").split("## Ablations")[0]
    return {key for cells in rows(text) for key in keys(cells[0]) if key.split(".")[0] in PARAMS}


def test_every_parameter_is_described_and_no_other() -> None:
    wanted = {key for key in leaves(PARAMS) if not key.startswith("iterations.")}
    overrides = {f"iterations.N.{key}" for key in PARAMS["iterations"]["1"]}
    assert described_keys() == wanted | overrides | {"iterations"}


@pytest.mark.parametrize("preset", ["laptop", "paper"])
def test_values_of_the_presets_are_those_of_the_files(preset: str) -> None:
    values = params.read(ROOT / "presets" / f"{preset}.yaml")
    column = {"laptop": 1, "paper": 2}[preset]
    checked = 0
    for cells in rows(read("docs/parameters.md").split("## Ablations")[0]):
        if cells[0].startswith("`iterations"):
            continue
        names, shown = keys(cells[0]), cells[column].split(", ")
        assert len(names) == len(shown), cells
        for name, text in zip(names, shown, strict=True):
            value: Any = values
            for part in name.split("."):
                value = value[part]
            assert said(text, value), (name, text, value)
            checked += 1
    assert checked == len([key for key in leaves(values) if not key.startswith("iterations.")])


def said(text: str, value: object) -> bool:
    """Tell whether a cell gives a value; a commit may be called one."""
    if value == {}:
        return text == "{}"
    if isinstance(value, bool) or value is None:
        return text == {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, list):
        return text == str(value)
    if isinstance(value, int | float):
        return float(text) == float(value)
    return text == value or (text == "a commit" and bool(re.fullmatch("[0-9a-f]{40}", str(value))))


@pytest.mark.parametrize("block", [key for key in PARAMS if key != "iterations"])
def test_stages_that_a_block_runs_again_are_those_that_list_it(block: str) -> None:
    text = section(read("docs/parameters.md"), block)
    said = re.search(r"^Re-runs: (.*?)\.\n\n", text, re.M | re.S)
    assert said
    listed = {
        name
        for name, stage in STAGES.items()
        if any(str(key).split(".")[0] == block for key in stage.get("do", stage)["params"])
    }
    assert {name for name in coded(said[1]) if "." not in name} == listed


def test_every_ablation_is_described_and_no_other() -> None:
    names = {path.stem for path in (ROOT / "presets" / "ablations").glob("*.yaml")}
    text = section(read("docs/parameters.md"), "Ablations")
    assert {name for cells in rows(text) for name in coded(cells[0])} == names


@each_document
def test_overrides_in_commands_name_parameters(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    known = {*leaves(PARAMS), "iterations.3"}
    for name in re.findall(r"-S '?\+?([\w.]+)=", text):
        assert re.sub(r"^iterations\.\d+\.(?=\w+\.)", "", name) in known, name
    ablations = {file.stem for file in (ROOT / "presets" / "ablations").glob("*.yaml")}
    assert set(re.findall(r"--with ([a-z][a-z-]*)", code(text))) <= ablations


def called(stage: dict[str, Any]) -> str:
    """Give what stands behind a stage's name: nothing, an iteration, a benchmark, or both."""
    if "matrix" in stage:
        return "@t-NAME"
    return {None: "", "${benchmarks}": "@NAME"}.get(stage.get("foreach"), "@t")


def test_every_stage_is_described_with_its_module_and_no_other() -> None:
    table = read("docs/pipeline.md").split("| stage |")[1].split("\n\n")[0]
    described = {coded(cells[0])[0]: coded(cells[1])[0] for cells in rows(table)}
    wanted = {}
    for name, stage in STAGES.items():
        command = str(stage.get("do", stage)["cmd"])
        wanted[name + called(stage)] = command.split()[2]
    assert described == wanted


@pytest.mark.parametrize("stage", STAGES)
def test_every_output_of_a_stage_is_described(stage: str) -> None:
    body, text = STAGES[stage].get("do", STAGES[stage]), read("docs/artifacts.md")
    for kind in ("outs", "plots"):
        for entry in body.get(kind, []):
            path = entry if isinstance(entry, str) else next(iter(entry))
            for name, said in (
                ("key", "t"),
                ("item.t", "t"),
                ("item.name", "NAME"),
                ("item", "NAME"),
            ):
                path = path.replace(f"${{{name}}}", said)
            assert_described(path, text)


def assert_described(path: str, text: str) -> None:
    """Look a path up, as it is, as that of any iteration, or among the splits."""
    of_any = path.replace("run/0/", "run/t/")
    split = re.sub(r"(run/0/splits/)\w+\.", r"\1{policy,reward,selection,eval}.", path)
    named = (path, of_any, split)
    assert any(f"`{name}" in text for name in named), path


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_every_column_is_described_with_its_type_and_no_other(table: tables.Table) -> None:
    text = section(read("docs/artifacts.md"), f"{table.name}:")
    described = {name: cells[1] for cells in rows(text) for name in coded(cells[0])}
    assert described == {
        name: type_name(kind) + " or null" * (name in table.nullable)
        for name, kind in table.kinds.items()
    }


def test_every_reason_to_drop_a_row_is_described_and_no_other() -> None:
    text = section(read("docs/data.md"), "Rows that are dropped")
    assert {coded(cells[0])[0]: cells[1] for cells in rows(text)} == dict(conversations.REASONS)


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_the_key_of_every_table_is_given(table: tables.Table) -> None:
    text = section(read("docs/artifacts.md"), f"{table.name}:")
    said = re.search(r"Key:\s(.*?)\.\n", text, re.S)
    assert said
    assert tuple(coded(said[1])) == table.keys


def type_name(kind: pa.DataType) -> str:
    return re.sub(r"\b(item|element): ", "", str(kind))


def test_the_map_of_the_code_has_a_line_for_every_room_and_no_other() -> None:
    tree = section(read("README.md"), "The code").split("```")[1]
    named = set(re.findall(r"^  (\w+)(?:/|\.py) ", tree, re.M))
    assert named == {room for floor in FLOORS for room in floor}
    for line in re.findall(r"^(\w+)/ ", tree, re.M):
        assert (ROOT / line).is_dir()


def test_the_floors_of_the_rooms_are_those_of_the_test() -> None:
    lines = rows_of(section(read("CONTRIBUTING.md"), "The rooms"))
    described = {int(floor): set(coded(names)) for floor, names in lines}
    assert described == dict(enumerate(FLOORS))


def rows_of(text: str) -> list[list[str]]:
    """List the cells of table rows that begin with a number."""
    lines = re.findall(r"^\| (\d+ \|.*) \|$", text, re.M)
    return [[cell.strip() for cell in line.split("|")] for line in lines]


def requirement(text: str) -> str:
    return re.split(r"[<>=\[ ]", text)[0]


def test_every_dependency_has_its_reason_and_no_other_is_listed() -> None:
    project = tomllib.loads(read("pyproject.toml"))["project"]
    text = read("docs/dependencies.md")
    runtime, development = text.split("For development")
    listed = {"dependencies": runtime, "dev": development.split("\n## ")[0]}
    extras = project["optional-dependencies"]
    for name, part in listed.items():
        wanted = project["dependencies"] if name == "dependencies" else extras[name]
        reasons = dict(re.findall(r"^\| ([a-z][\w.-]*) \| (.+) \|$", part, re.M))
        reasons = {package: why for package, why in reasons.items() if why != "for"}
        assert set(reasons) == {requirement(package) for package in wanted}
    assert set(re.findall(r"`\.\[([\w-]+)\]`", text)) == set(extras)


def test_the_embedded_package_is_the_one_that_make_installs() -> None:
    name, version = re.findall(r"^MODEL := (\S+)==(\S+)$", read("Makefile"), re.M)[0]
    assert f"{name} {version}" in read("docs/dependencies.md")


def test_the_version_is_the_same_everywhere() -> None:
    assert params.read(ROOT / "CITATION.cff")["version"] == __version__
    assert re.findall(r"^## (\S+)", read("CHANGELOG.md"), re.M)[0] == __version__


def test_dependencies_are_imported_somewhere() -> None:
    names = {
        "huggingface-hub": "huggingface_hub",
        "if-verifiable": "if_verifiable",
        "ruamel.yaml": "ruamel",
        "vl-convert-python": "vl_convert",
    }
    indirect = {"accelerate", "dvc", "gguf", "if-verifiable"}
    sources = [*(ROOT / "mutual_taught").rglob("*.py"), *(ROOT / "stages").glob("*.py")]
    imported: set[str] = set()
    for path in sources:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
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


@each_document
def test_links_lead_somewhere(path: Path) -> None:
    for target, anchor in LINK.findall(path.read_text(encoding="utf-8")):
        file = path.parent / target if target else path
        assert file.exists(), target
        assert not anchor or anchor in anchors(file.read_text(encoding="utf-8")), (target, anchor)


@each_document
def test_commands_and_modules_exist(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z0-9-]+):", read("Makefile"), re.M))
    assert set(re.findall(r"\bmake ([a-z][a-z0-9-]*)", code(text))) <= targets
    assert set(re.findall(r"mutual-taught ([a-z][a-z-]+)", text)) <= set(main.commands)
    for folder in ("stages", "mutual_taught", "tests", "bench"):
        for file, module in re.findall(
            rf"(?<![\w/]){folder}/([\w/]+)\.py|-m {folder}\.([\w.]+\w)", text
        ):
            name = file or module.replace(".", "/")
            assert (ROOT / folder / f"{name}.py").exists(), f"{folder}/{name}.py"
    for stage in re.findall(r"`stages\.(\w+)", text):
        assert (ROOT / "stages" / f"{stage}.py").exists(), stage
    for module, names in re.findall(r"from (mutual_taught[\w.]*) import ([\w, ]+)", code(text)):
        for name in names.split(","):
            assert name.strip() in dir(importlib.import_module(module)) or importlib.util.find_spec(
                f"{module}.{name.strip()}"
            ), f"{module}.{name.strip()}"


def defined(path: str) -> set[str]:
    kinds = (ast.FunctionDef, ast.ClassDef)
    return {node.name for node in ast.walk(ast.parse(read(path))) if isinstance(node, kinds)}


def dotted(text: str) -> list[tuple[str, str, str]]:
    """List what is named as `room.module.function`."""
    return re.findall(r"`(\w+)\.(\w+)\.(\w+)`", text)


def test_every_function_and_test_named_in_the_map_of_the_method_exists() -> None:
    cells = [line.split("|")[2:] for line in read("docs/method.md").splitlines() if "|" in line]
    checked = 0
    for room, module, name in dotted("".join("".join(row) for row in cells)):
        place = f"tests/{room}" if module.startswith("test_") else f"mutual_taught/{room}"
        assert name in defined(f"{place}/{module}.py"), (room, module, name)
        checked += 1
    assert checked > 50


def test_every_sentence_of_the_paper_has_its_stage_its_functions_and_its_test() -> None:
    text = read("docs/method.md").split("## Ablations")[0]
    chains = [line.split("|")[1:-1] for line in text.splitlines() if line.startswith("| ")]
    chains = [row for row in chains if row[0] != " paper "]
    assert len(chains) == 18
    for row in chains:
        _, stage, step, function, _, test = row
        assert coded(stage)[0] in STAGES
        assert dotted(step), row
        assert dotted(function), row
        assert dotted(test)[0][1].startswith("test_"), row


@each_document
def test_every_block_has_a_language_and_marks_that_are_known(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    found = blocks.of(path)
    assert len(re.findall(r"^```", text, re.M)) == 2 * len(found), "a fence is not closed"
    for block in found:
        assert block.language in blocks.LANGUAGES, (block.line, block.language)
        assert block.marks <= blocks.MARKS, (block.line, block.marks)
        assert "run" not in block.marks or block.language == "python", block.line


@each_document
def test_every_shell_block_is_made_of_whole_commands(path: Path) -> None:
    for block in blocks.of(path):
        if block.language == "sh":
            typed = blocks.commands(block)
            assert typed, block.line
            for command in typed:
                assert not re.match(r"[$%>] ", command.text), (command.line, "a prompt sign")
                assert not re.search(r"<[a-z]+>|\.\.\.|\b[A-Z]+_ID\b", command.text), command.line


@each_document
def test_code_is_fenced_never_indented(path: Path) -> None:
    text = blocks.FENCE.sub("", path.read_text(encoding="utf-8"))
    assert not re.findall(r"(?<=\n\n)    \S.*", text)


def test_block_is_found_with_its_line_language_marks_and_heading() -> None:
    page = "# A\n\n## B\n\n<!-- gpu hub -->\n```sh\nls\n```\n\n```yaml\na: 1\n```\n"
    first, second = blocks.parse("x.md", page)
    assert (first.line, first.section, first.language) == (7, "B", "sh")
    assert first.marks == {"gpu", "hub"}
    assert not first.runs
    assert (second.line, second.language, second.marks) == (11, "yaml", frozenset())


def test_commands_are_split_where_a_terminal_would_run_them() -> None:
    text = "a=1  # one\nfor i in 1 2; do\n    echo $i\ndone\necho x \\\n    y\ncat <<E\nz\nE\n"
    (block,) = blocks.parse("x.md", f"```sh\n{text}```\n")
    assert [command.line for command in blocks.commands(block)] == [2, 3, 6, 8]


def test_block_that_ends_in_the_middle_of_a_command_is_refused() -> None:
    (block,) = blocks.parse("x.md", "```sh\necho 'a\n```\n")
    with pytest.raises(ValueError, match=r"x\.md:2"):
        blocks.commands(block)


LEFT_OPEN = re.compile(r"\b(TODO|TBD|FIXME|XXX)\b")


@each_document
def test_nothing_is_left_to_fill_in(path: Path) -> None:
    assert not LEFT_OPEN.search(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("folder", ["mutual_taught", "stages", "study", "bench"])
def test_nothing_is_left_to_fill_in_in_the_code(folder: str) -> None:
    sources = (ROOT / folder).rglob("*.py")
    assert [path for path in sources if LEFT_OPEN.search(path.read_text(encoding="utf-8"))] == []


@pytest.mark.parametrize("name", main.commands)
def test_every_option_of_a_command_is_described_and_no_other(name: str) -> None:
    text = section(read("docs/commands.md"), name)
    described = {option for cells in rows(text) for option in coded(cells[0])}
    given = (option for option in main.commands[name].params if option.param_type_name == "option")
    assert described == {
        word for option in given for word in (*option.opts, *option.secondary_opts)
    }


def test_every_command_is_described_and_no_other() -> None:
    titles = re.findall(r"^## (.+)$", read("docs/commands.md"), re.M)
    assert titles == ["run", *titles[1:-1], "Completion"]
    assert sorted(titles[:-1]) == sorted(main.commands)


def test_exit_codes_are_described() -> None:
    text = read("docs/commands.md").split("\n## ")[0]
    assert re.findall(r"^\| (\d+) \|", text, re.M) == ["0", "1", "2", "130", "255"]
