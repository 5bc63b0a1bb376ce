"""Who may know whom: importing a room pulls in nothing above it, and nobody reaches into napari's private parts."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = [*(ROOT / "napari_uld").rglob("*.py"), *(ROOT / "training").rglob("*.py")]
ROOMS = ["ct", "lesions", "masks", "evaluation", "detectors", "inference", "viewer"]
GUI = {"napari", "qtpy", "PyQt6", "PySide6", "magicgui", "superqt", "vispy"}


def modules_of(room: str) -> list[str]:
    """Every module of a room."""
    files = sorted((ROOT / "napari_uld" / room).rglob("*.py"))
    names = [".".join(f.relative_to(ROOT).with_suffix("").parts) for f in files]
    return [name.removesuffix(".__init__") for name in names]


def loaded_by(modules: list[str]) -> set[str]:
    """What is in sys.modules after importing `modules` in a fresh interpreter."""
    code = "import sys\n" + "".join(f"import {m}\n" for m in modules) + "print('\\n'.join(sys.modules))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT / "tests")
    return set(out.stdout.split())


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_knows_only_the_rooms_below_it(room: str) -> None:
    loaded = loaded_by(modules_of(room))
    above = {f"napari_uld.{other}" for other in ROOMS[ROOMS.index(room) + 1 :]} | {"napari_uld.training"}
    assert {name for name in loaded if any(name == a or name.startswith(a + ".") for a in above)} == set()
    packages = {name.split(".")[0] for name in loaded}
    if room != "viewer":
        assert packages & GUI == set()
    if room not in ("detectors", "inference"):
        assert "torch" not in packages


def test_training_knows_no_viewer() -> None:
    files = sorted((ROOT / "training").rglob("*.py"))
    names = ["napari_uld." + ".".join(f.relative_to(ROOT).with_suffix("").parts) for f in files]
    loaded = loaded_by([name.removesuffix(".__init__") for name in names])
    assert {name.split(".")[0] for name in loaded} & GUI == set()
    assert not any(name.startswith("napari_uld.viewer") for name in loaded)


def test_the_worker_and_the_catalogue_load_no_torch() -> None:
    loaded = loaded_by(["napari_uld.inference.worker", "napari_uld.inference.catalogue", "napari_uld.cli"])
    assert "torch" not in loaded
    assert not {name.split(".")[0] for name in loaded} & GUI


def imports_of(path: Path) -> list[tuple[str, int, bool]]:
    """(module, relative level, whether at module level) of every import in a file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    top = {id(node) for node in tree.body}
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name, 0, id(node) in top) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module or ''}.{alias.name}".lstrip(".") for alias in node.names]
            found += [(name, node.level, id(node) in top) for name in names]
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_keep_to_the_house_rules(path: Path) -> None:
    in_training = path.is_relative_to(ROOT / "training")
    for name, level, at_top in imports_of(path):
        parts = name.split(".")
        assert not (parts[0] == "napari" and any(p.startswith("_") for p in parts[1:])), f"private napari name {name}"
        assert not (level == 0 and parts[0] in ("training", "sample_data")), f"{name}: say napari_uld.{name}"
        if in_training:
            assert not name.startswith("napari_uld.training"), f"{name}: relative imports inside training/"
        elif at_top:
            assert not name.startswith("napari_uld.training"), f"{name}: training is imported inside functions only"
