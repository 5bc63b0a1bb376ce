import ast
import subprocess
import sys
from pathlib import Path

import pytest
from npe2 import PluginManifest

import napari_uld

PACKAGE = Path(napari_uld.__file__).parent

BUILD_EVERYTHING = """
import sys
from qtpy.QtWidgets import QApplication
app = QApplication([])
from napari.components import ViewerModel
import napari_uld.viewer.plugin.reader, napari_uld.viewer.plugin.writer
import napari_uld.viewer.plugin.samples, napari_uld.viewer.plugin.demo
from napari_uld.viewer.panels.cases import CasesPanel
from napari_uld.viewer.panels.compare import ComparePanel
from napari_uld.viewer.panels.detect import DetectPanel
from napari_uld.viewer.panels.inside import InsidePanel
from napari_uld.viewer.panels.masks import MasksPanel
from napari_uld.viewer.panels.mining import MiningPanel
from napari_uld.viewer.panels.review import ReviewPanel
from napari_uld.viewer.panels.views import ViewsPanel
viewer = ViewerModel()
kinds = (CasesPanel, MiningPanel, ReviewPanel, DetectPanel, ComparePanel, MasksPanel, InsidePanel, ViewsPanel)
panels = [make(viewer) for make in kinds]
print(sorted(name for name in sys.modules if name.split(".")[0] in ("torch", "torchvision")))
"""


def test_the_manifest_is_valid_and_everything_it_names_is_there() -> None:
    manifest = PluginManifest.from_file(PACKAGE / "napari.yaml")
    manifest.validate_imports()
    contributed = manifest.contributions
    assert {widget.display_name for widget in contributed.widgets} == {
        "Cases",
        "Mining",
        "Review",
        "Detect",
        "Compare methods",
        "Masks",
        "Look inside",
        "Views",
    }
    assert "review" in contributed.configurations


@pytest.mark.parametrize("pattern", ["*.dcm", "*.nii.gz", "*.nrrd", "*.mha", "DL_info.csv", "*.lesions.json"])
def test_files_of_every_kind_may_be_dropped(pattern: str) -> None:
    manifest = PluginManifest.from_file(PACKAGE / "napari.yaml")
    (reader,) = manifest.contributions.readers
    assert pattern in reader.filename_patterns
    assert reader.accepts_directories


@pytest.mark.window
def test_the_viewer_and_all_its_panels_come_up_without_torch() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", BUILD_EVERYTHING], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


NOTICES = {"show_info", "show_warning", "show_error", "warn", "_warn"}
# Texts that say what happened from their beginning on, wherever they are made.
SAID_ELSEWHERE = {"AXIAL_ONLY", "review.AXIAL_ONLY", "message", "store.damage", "export_dl_info(self._case, path)"}


def test_a_notice_says_what_happened_from_its_beginning_on() -> None:
    # napari shows one line of some forty characters: no path or name may fill it, nor an error's own beginning.
    said = {
        ast.unparse(call.args[0]): call.args[0]
        for path in (PACKAGE / "viewer").rglob("*.py")
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(call, ast.Call) and ast.unparse(call.func).split(".")[-1] in NOTICES
    }
    assert len(said) > 30
    for text, notice in said.items():
        if isinstance(notice, ast.JoinedStr):
            first = notice.values[0]
            begins = isinstance(first, ast.Constant) or any(
                word in ast.unparse(first) for word in ("len(", "count", "long", "note")
            )
            assert begins, text
        else:
            assert isinstance(notice, ast.Constant) or text in SAID_ELSEWHERE, text
