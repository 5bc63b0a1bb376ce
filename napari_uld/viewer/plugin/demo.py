"""The demonstration: the bundled study, the bundled detector, everything in view at once."""

import time
from pathlib import Path
from tempfile import TemporaryDirectory

import napari
from napari.qt import get_qapp
from qtpy.QtCore import QEvent

from napari_uld.errors import WorkerError
from napari_uld.viewer.layers.parts import Part
from napari_uld.viewer.panels.detect import DetectPanel
from napari_uld.viewer.panels.lesion_table import HEADERS, cells
from napari_uld.viewer.plugin.samples import own_copy
from napari_uld.viewer.session import Session
from napari_uld.viewer.state.case import Case
from napari_uld.viewer.state.rows import Mark, Row
from napari_uld.viewer.state.settings import PLUGIN, data_folder
from napari_uld.viewer.tools.workbench import workbench_of

SIZE = (1600, 1000)
# A detector that takes longer than this on one small study will not come back.
PATIENCE = 300.0
# Time for the canvas to be laid out and drawn before a picture is taken.
SETTLE = 1.0


def run_demo(screenshot: Path | None = None, study: Path | None = None) -> list[dict[str, str]]:
    """Open a study, run the bundled detector on it and show what it found.

    Parameters
    ----------
    screenshot
        Where to write a picture of the window; then it closes. None: it stays open until the
        person closes it.
    study
        The scan; where None, the bundled phantom study: as it comes for a picture, otherwise with
        what the person decided about it before.

    Returns
    -------
    The rows of the review's table as texts, by column.

    Raises
    ------
    WorkerError
        If the detector failed or did not come back.
    DataError
        If the bundled study is missing.
    """
    with TemporaryDirectory() as pristine:
        folder = data_folder() if screenshot is None else Path(pristine)
        return _run(screenshot, own_copy(folder) if study is None else study)


def _run(screenshot: Path | None, study: Path) -> list[dict[str, str]]:
    viewer = napari.Viewer(title="napari-uld")
    try:
        viewer.window.resize(*SIZE)
        viewer.open(study, plugin="napari-uld")
        session = workbench_of(viewer).session
        detect = _panels(viewer)
        case = _detected(session, detect)
        show_best(session, case)
        if screenshot is not None:
            settle(SETTLE)
            session.fit_body()
            settle(SETTLE)
            viewer.screenshot(str(screenshot), canvas_only=False, flash=False)
        else:
            settle(SETTLE)
            session.fit_body()
            napari.run()
        return [dict(zip(HEADERS, cells(row), strict=True)) for row in case.rows]
    finally:
        if screenshot is not None:
            close_window(viewer)


def _panels(viewer: napari.Viewer) -> DetectPanel:
    """Dock the other panels behind the review, which opens with the scan; give the one that detects."""
    review, _ = viewer.window.add_plugin_dock_widget(PLUGIN, "Review")
    viewer.window.add_plugin_dock_widget(PLUGIN, "Masks", tabify=True)
    _, detect = viewer.window.add_plugin_dock_widget(PLUGIN, "Detect", tabify=True)
    settle(SETTLE)
    review.raise_()
    return detect


def _detected(session: Session, detect: DetectPanel) -> Case:
    """Run the detector and wait for it, the window staying alive."""
    case = session.case
    if case is None:
        raise WorkerError("The study was not opened")
    detect.run()
    until = time.monotonic() + PATIENCE
    while detect.running:
        get_qapp().processEvents()
        time.sleep(0.02)
        if time.monotonic() > until:
            detect.cancel()
            raise WorkerError(f"The detector did not come back within {PATIENCE:.0f} seconds")
    if not case.findings:
        raise WorkerError(detect.status.text())
    return case


def show_best(session: Session, case: Case) -> None:
    """Go to the slice that shows most: a measured lesion, its mask and detections."""

    def seen(row: Row) -> tuple[bool, bool, int]:
        on_slice = [r for r in case.rows if row.native in r.boxes]
        waiting = sum(r.mark is Mark.PENDING for r in on_slice)
        return row.recist is not None, waiting > 0, len(on_slice)

    session.show_masks(True)
    session.jump(max(case.rows, key=seen, default=None))
    session.viewer.layers.selection.active = session.layer(Part.CT)


def settle(seconds: float) -> None:
    """Let the window live for a while."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        get_qapp().processEvents()
        time.sleep(0.02)


def close_window(viewer: napari.Viewer) -> None:
    """Close a window and delete it, where no event loop will do so.

    A window that waits for a loop is left to the program's end. There PyQt deletes what Python owns, walking through
    the table of all wrapped objects; what a whole window still calls while it goes can make that table grow, and PyQt
    walks on in the old one, which is freed: half of the programs ended in a segmentation fault.
    """
    viewer.close()
    get_qapp().sendPostedEvents(None, QEvent.Type.DeferredDelete)
