"""Who may know whom: rooms know what stands below them, nobody imports in a circle or from napari's private parts."""

import ast
import json
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from pkgutil import resolve_name

import pytest

from napari_uld.detectors.specs.family import DetectorSpec, SupervisionSpec
from napari_uld.detectors.specs.system import FAMILIES

ROOT = Path(__file__).parents[1]
# The house's rooms, each knowing only those before it.
ROOMS = ("ct", "lesions", "masks", "evaluation", "detectors", "inference", "viewer", "training")
# The same inside a room. Everything in it stands in its row.
INNER_ROOMS = {
    "detectors": (
        "parts",
        "specs",
        "anchors",
        "batch",
        "targets",
        "backbones",
        "losses",
        "encoders",
        "heads",
        "slab_detector",
        "two_stage",
        "one_stage",
        "build_centres",
        "build_on_resnet",
        "build",
        "earlier_names",
    ),
    "viewer": ("state", "layers", "view", "session", "tools", "panels", "plugin"),
}
# Who may name a family's classes: the table of families, its builder and its own files.
FAMILY_FILES = [
    f"napari_uld.detectors.{part}"
    for part in ("specs", "build", "build_centres", "build_on_resnet", "two_stage", "one_stage")
]
QT = {"qtpy", "PyQt5", "PyQt6", "PySide2", "PySide6", "superqt"}
GUI = QT | {"napari", "magicgui", "vispy"}


def name_of(path: Path) -> str:
    """A module's name; training/ is installed as napari_uld.training."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    parts = ("napari_uld", *parts) if parts[0] == "training" else parts
    return ".".join(parts).removesuffix(".__init__")


MODULES = {
    name_of(path): path for folder in ("napari_uld", "training") for path in sorted((ROOT / folder).rglob("*.py"))
}


def modules_of(*within: str) -> list[str]:
    """The modules of the house in any of these, themselves included."""
    return [name for name in MODULES if any(f"{name}.".startswith(f"napari_uld.{room}.") for room in within)]


@dataclass(frozen=True)
class Import:
    """One name that a module imports: where it comes from, dots in front as written, and when that happens."""

    name: str
    level: int
    in_function: bool

    @property
    def target(self) -> str | None:
        """The module of the house that it is, or is in; None where it is none of ours."""
        parts = self.name.split(".")
        prefixes = (".".join(parts[:end]) for end in range(len(parts), 0, -1))
        return next((prefix for prefix in prefixes if prefix in MODULES), None)


@cache
def imports_of(module: str) -> tuple[Import, ...]:
    """Every import in a module, at its top and in its functions."""
    path = MODULES[module]
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]

    def walk(nodes: Iterable[ast.AST], in_function: bool) -> Iterator[Import]:
        for node in nodes:
            if isinstance(node, ast.Import):
                yield from (Import(alias.name, 0, in_function) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
                origin = ".".join([*above, *([node.module] if node.module else [])])
                yield from (Import(f"{origin}.{a.name}", node.level, in_function) for a in node.names)
            else:
                function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
                yield from walk(ast.iter_child_nodes(node), in_function or function)

    return tuple(walk(ast.parse(path.read_text(encoding="utf-8")).body, False))


# -- what is loaded: one interpreter imports one list of modules after the other --


def loaded_in_turn(*turns: list[str]) -> list[set[str]]:
    """What is in sys.modules after each list of modules is imported, in one fresh interpreter."""
    code = "import sys, json\n" + "".join(
        "".join(f"import {module}\n" for module in modules) + "print(json.dumps(sorted(sys.modules)))\n"
        for modules in turns
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, cwd=ROOT / "tests"
    )
    assert done.returncode == 0, done.stderr
    return [set(json.loads(line)) for line in done.stdout.splitlines()]


def packages(loaded: set[str]) -> set[str]:
    return {name.split(".")[0] for name in loaded}


@pytest.fixture(scope="module")
def loaded() -> dict[str, set[str]]:
    """What each room but the viewer has loaded with all rooms below it."""
    rooms = [room for room in ROOMS if room != "viewer"]
    return dict(zip(rooms, loaded_in_turn(*map(modules_of, rooms)), strict=True))


@pytest.mark.parametrize("room", [room for room in ROOMS if room != "viewer"])
def test_a_room_loads_only_the_rooms_below_it_and_no_window(loaded: dict[str, set[str]], room: str) -> None:
    above = [f"napari_uld.{other}" for other in ROOMS[ROOMS.index(room) + 1 :]]
    if room == "training":
        above = ["napari_uld.viewer"]
    assert {name for name in loaded[room] if any(f"{name}.".startswith(f"{other}.") for other in above)} == set()
    assert packages(loaded[room]) & GUI == set()


@pytest.mark.parametrize("room", ["ct", "lesions", "masks", "evaluation"])
def test_a_room_below_the_detectors_loads_no_torch(loaded: dict[str, set[str]], room: str) -> None:
    assert "torch" not in loaded[room]


def test_the_viewer_loads_no_torch_and_no_window_below_its_panels() -> None:
    order = INNER_ROOMS["viewer"]
    below = [f"viewer.{part}" for part in order[: order.index("panels")]]
    specs, from_outside, state, without_panels, everything = loaded_in_turn(
        modules_of("detectors.specs"),
        ["napari_uld.inference.worker", "napari_uld.inference.catalogue", "napari_uld.cli"],
        modules_of("viewer.state"),
        modules_of(*below),
        modules_of("viewer"),
    )
    assert packages(specs) & (GUI | {"torch"}) == set()
    assert packages(from_outside) & GUI == set()
    assert packages(state) & (QT | {"magicgui"}) == set()
    assert packages(without_panels) & QT == set()
    assert "qtpy" in everything
    assert packages(everything) & {"torch", "torchvision"} == set()
    assert not any(name.startswith("napari_uld.training") for name in everything)


# -- what is written: every import, also those inside functions --


@pytest.mark.parametrize("room", INNER_ROOMS)
def test_inside_a_room_each_part_knows_only_the_parts_before_it(room: str) -> None:
    order, prefix = INNER_ROOMS[room], f"napari_uld.{room}."
    parts = {name: name.removeprefix(prefix).split(".")[0] for name in modules_of(room) if name.startswith(prefix)}
    assert set(parts.values()) == set(order), f"say in INNER_ROOMS where each part of {room} stands"
    wrong = {
        f"{name} -> {imported.target}"
        for name, part in parts.items()
        for imported in imports_of(name)
        if imported.target in parts and order.index(parts[imported.target]) > order.index(part)
    }
    assert wrong == set()


def test_nobody_but_the_builder_and_its_own_files_knows_a_familys_classes() -> None:
    described = {cls for family in FAMILIES.values() for cls in (family.detector, family.supervision)}
    known = {base for cls in described for base in cls.__mro__ if issubclass(base, DetectorSpec | SupervisionSpec)}
    networks = {resolve_name(str(family.build)).__annotations__["return"] for family in FAMILIES.values()}
    classes = {cls.__name__ for cls in (known - {DetectorSpec, SupervisionSpec}) | networks}
    assert {"StagesSpec", "TwoStageSupervision", "RetinaNetSpec", "OneStageDetector"} <= classes
    wrong = {
        f"{name} -> {imported.name}"
        for name in MODULES
        for imported in imports_of(name)
        if imported.name.split(".")[-1] in classes
        and not any(f"{name}.".startswith(f"{allowed}.") for allowed in FAMILY_FILES)
    }
    assert wrong == set()


def test_below_the_viewers_panels_nobody_imports_a_window() -> None:
    order = INNER_ROOMS["viewer"]
    below = modules_of(*(f"viewer.{part}" for part in order[: order.index("panels")]))
    windows = QT | {"magicgui", "napari.qt", "napari.viewer", "napari.Viewer"}
    wrong = {
        f"{name} -> {imported.name}"
        for name in below
        for imported in imports_of(name)
        if any(f"{imported.name}.".startswith(f"{window}.") for window in windows)
    }
    assert wrong == set()


def test_no_modules_import_one_another_in_a_circle() -> None:
    graph = {
        name: {imported.target for imported in imports_of(name) if imported.target not in (None, name)}
        for name in MODULES
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" <- ".join(error.args[1]))


@pytest.mark.parametrize("module", MODULES)
def test_imports_keep_to_the_house_rules(module: str) -> None:
    in_training, in_cli = (f"{module}.".startswith(f"napari_uld.{room}.") for room in ("training", "cli"))
    for imported in imports_of(module):
        name, parts = imported.name, imported.name.split(".")
        assert not (parts[0] == "napari" and any(p.startswith("_") for p in parts[1:])), f"private napari name {name}"
        assert parts[0] not in ("training", "sample_data"), f"{name}: say napari_uld.{name}"
        if name.startswith("napari_uld.training"):
            allowed = imported.level > 0 if in_training else in_cli and imported.in_function
            assert allowed, f"{name}: relative imports inside training/, elsewhere inside the CLI's commands only"


@pytest.mark.parametrize("module", modules_of("viewer"))
def test_the_viewer_takes_nothing_private_of_what_is_not_its_own(module: str) -> None:
    private = {
        node.attr
        for node in ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute)
        and node.attr.startswith("_")
        and not node.attr.startswith("__")
        and ast.unparse(node.value) not in ("self", "cls", "super()")
    }
    # Python itself has no other way to say who is running.
    assert private - {"_getframe"} == set()
