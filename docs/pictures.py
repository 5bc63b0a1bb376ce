"""Take the pictures of this folder from the product itself.

    make pictures

The plots come from `napari-uld positives --plot` and
`napari-uld anchors --plot`.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import napari
from napari.qt import get_qapp

from napari_uld.masks import MaskKind
from napari_uld.viewer.layers.inside import SEGMENTATION, Boxes
from napari_uld.viewer.layers.parts import Part
from napari_uld.viewer.panels.compare import ComparePanel
from napari_uld.viewer.panels.detector_panel import DetectorPanel
from napari_uld.viewer.panels.inside import InsidePanel
from napari_uld.viewer.panels.masks import MasksPanel
from napari_uld.viewer.plugin.demo import close_window, run_demo, settle, show_best
from napari_uld.viewer.plugin.samples import own_copy
from napari_uld.viewer.session import Session
from napari_uld.viewer.state.settings import PLUGIN
from napari_uld.viewer.tools.workbench import workbench_of

DOCS = Path(__file__).parent
SIZE = (1500, 900)
# A lesion's box takes this share of the height of a picture that shows it closely.
CLOSE = 0.3
# Slice of the study that shows lesions of several kinds.
WITH_DETECTIONS = 41
# What is compared, and at how many false positives on the study.
COMPARED, FALSE = ("faster_rcnn_bmc", "retinanet_dense_ag", "vld_acs_spr"), 6


@contextmanager
def panel_on_study(name: str) -> Iterator[tuple[Session, Any]]:
    """Open the sample study on its best lesion, with one panel beside it."""
    viewer = napari.Viewer(title="napari-uld")
    try:
        with TemporaryDirectory() as folder:
            viewer.window.resize(*SIZE)
            viewer.open(own_copy(Path(folder)), plugin="napari-uld")
            session = workbench_of(viewer).session
            # The review opens with the scan.
            viewer.window.add_plugin_dock_widget(PLUGIN, "Review")
            dock, panel = viewer.window.add_plugin_dock_widget(PLUGIN, name, tabify=True)
            settle(1.0)
            dock.raise_()
            assert session.case is not None
            show_best(session, session.case)
            yield session, panel
    finally:
        close_window(viewer)


def take(session: Session, name: str, *, close: float | None = CLOSE) -> None:
    """Take a picture of the window, the lesion at hand brought near or the whole body in view."""
    case, viewer = session.case, session.viewer
    assert case is not None
    assert case.current is not None
    settle(1.0)
    session.fit_body()
    settle(1.0)
    if close is not None:
        x1, y1, x2, y2 = case.current.box
        scan = session.layer(Part.CT)
        viewer.scene.camera.center = scan.data_to_world((session.z, (y1 + y2) / 2, (x1 + x2) / 2))
        height = viewer.canvas.size[0]
        viewer.scene.camera.zoom = close * height / ((y2 - y1) * float(scan.scale[-1]))
        settle(1.0)
    viewer.screenshot(str(DOCS / name), canvas_only=False, flash=False)


def masks() -> None:
    """GrabCut and the quarter ellipses of one lesion."""
    with panel_on_study("Masks") as (session, panel):
        assert isinstance(panel, MasksPanel)
        panel.kind.value = MaskKind.GRABCUT
        panel.compare.click()
        take(session, "masks.png")


def look_inside(session: Session, panel: InsidePanel, checkpoint: str) -> None:
    """Look inside a bundled detector on the slice that is shown."""
    panel.checkpoints.names.value = checkpoint
    run(panel)


def run(panel: DetectorPanel) -> None:
    """Run what is chosen, and wait for it."""
    panel.run()
    while panel.running:
        get_qapp().processEvents()
        time.sleep(0.02)


def inside() -> None:
    """What teaches a two-stage detector one lesion, and what it sees of it."""
    with panel_on_study("Look inside") as (session, panel):
        look_inside(session, panel, "faster_rcnn_bmc")
        take(session, "inside.png")


def one_stage() -> None:
    """The segmentation map of a slice as heat over the detections."""
    with panel_on_study("Look inside") as (session, panel):
        session.show_native(WITH_DETECTIONS)
        look_inside(session, panel, "retinanet_dense_ag")
        panel.map.value = SEGMENTATION
        panel.boxes[Boxes.IOU].setChecked(False)
        take(session, "retinanet.png", close=None)


def compare() -> None:
    """Three detectors on one slice, and what each finds of the annotation."""
    with panel_on_study("Compare methods") as (session, panel):
        assert isinstance(panel, ComparePanel)
        for name in COMPARED:
            panel.methods.check(name)
        run(panel)
        session.show_masks(False)
        panel.allowed.value = FALSE
        panel.table.selectRow(2)
        take(session, "compare.png", close=CLOSE / 2)


if __name__ == "__main__":
    run_demo(DOCS / "demo.png")
    masks()
    inside()
    one_stage()
    compare()
