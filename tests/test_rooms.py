"""Imports go in one direction: a room knows those below it, and none beside or above it."""

from pathlib import Path

from tests import imports, project

# From the ground up; rooms of one floor do not know each other.
FLOORS = (
    {"errors"},
    {"keys", "terminal"},
    {"method"},
    {"config"},
    {"artifacts"},
    {"pipeline"},
    {"cluster", "models"},
    {"checks"},
    {"evaluation", "sampling", "scoring", "training"},
    {"report", "steps"},
    {"prepare"},
    {"measuring"},
    {"planning"},
    {"running"},
    {"reading"},
    {"audit", "keeping"},
    {"cli"},
)
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
MODULES = {
    imports.module_of(path.relative_to(project.ROOT)): path
    for path in sorted((project.ROOT / imports.PACKAGE).rglob("*.py"))
}
ARROWS = {name: imports.modules_of(path) for name, path in MODULES.items() if name}


def room(module: str) -> str:
    return module.split(".")[0]


def test_every_room_has_a_floor() -> None:
    assert {room(name) for name in ARROWS} - {"__init__", "__main__"} == set(FLOOR)


def test_no_room_imports_one_beside_or_above_it() -> None:
    wrong = [
        f"{name} imports {other}"
        for name, others in ARROWS.items()
        for other in others
        if name != "__main__"
        and room(name) != room(other)
        and FLOOR[room(name)] <= FLOOR[room(other)]
    ]
    assert not wrong


def test_the_method_knows_errors_and_keys_alone() -> None:
    known = {room(other) for name in ARROWS if room(name) == "method" for other in ARROWS[name]}
    assert known <= {"method", "errors", "keys"}
    text = "".join(
        path.read_text() for path in (project.ROOT / "mutual_taught/method").glob("*.py")
    )
    assert "pyarrow" not in text


def test_no_module_imports_itself_through_others() -> None:
    done: set[str] = set()

    def visit(name: str, above: tuple[str, ...]) -> None:
        assert name not in above, " -> ".join([*above, name])
        if name not in done:
            for other in ARROWS.get(name, ()):
                visit(other, (*above, name))
            done.add(name)

    for name in ARROWS:
        visit(name, ())


def test_no_stage_imports_a_room_above_its_steps() -> None:
    above = {name for floor in FLOORS[FLOOR["planning"] :] for name in floor} - {"planning"}
    for path in Path(project.ROOT, "stages").glob("*.py"):
        assert not {room(name) for name in imports.modules_of(path)} & above, path
