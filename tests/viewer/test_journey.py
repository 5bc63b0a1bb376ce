"""The whole way in a real window, on the real series: open, see, mask, detect, accept, save, open again."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from napari import Viewer
from pytestqt.qtbot import QtBot
from qtpy.QtGui import QCloseEvent
from qtpy.QtWidgets import QApplication, QWidget

from napari_uld.inference.worker import DetectionWorker
from napari_uld.lesions.annotations import Source, State
from napari_uld.masks import MaskKind, MaskParameters
from napari_uld.viewer.layers.hand import Hold
from napari_uld.viewer.layers.parts import Part
from napari_uld.viewer.panels.detect import DetectPanel
from napari_uld.viewer.session import Answer, Session
from napari_uld.viewer.tools import review
from napari_uld.viewer.tools.workbench import workbench_of

from .conftest import take_in_hand

MakeViewer = Callable[..., Viewer]


def open_series(viewer: Viewer, root: Path, qtbot: QtBot) -> Session:
    viewer.open(root / "Images_png" / "000001_03_01", plugin="napari-uld")
    qtbot.wait(10)  # the reader arranges the view once napari has added the layers
    return workbench_of(viewer).session


def panel_window(viewer: Viewer, name: str) -> QWidget:
    """The window that a panel is docked in."""
    (panel,) = [panel for title, panel in viewer.window.dock_widgets.items() if title.startswith(name)]
    return panel.window()


@pytest.fixture
def worker() -> Iterator[DetectionWorker]:
    worker = DetectionWorker()
    yield worker
    worker.close()


def test_a_finding_on_the_real_series_is_accepted_saved_and_there_again(
    deeplesion: Path, make_napari_viewer: MakeViewer, worker: DetectionWorker, qtbot: QtBot
) -> None:
    viewer = make_napari_viewer()
    session = open_series(viewer, deeplesion, qtbot)

    # Slice 88 is shown with its cross inside the box on the mediastinal node.
    (expert,) = session.case.rows
    assert session.case.volume.native_slice(session.z) == 88
    assert "slice 88" in viewer.canvas.overlays.text.text
    assert any(name.startswith("Review") for name in viewer.window.dock_widgets)
    boxes = take_in_hand(session, expert.key)
    corners = np.array([boxes.data_to_world(corner) for corner in boxes.data[0]])
    lines = take_in_hand(session, expert.key, Hold.RECIST)
    ends = np.array([lines.data_to_world(end) for line in lines.data for end in line])
    assert (ends >= corners.min(axis=0)).all()
    assert (ends <= corners.max(axis=0)).all()
    np.testing.assert_allclose(ends[0], [-88.0, 156.618 * 0.732422, 256.759 * 0.732422], atol=1e-3)

    # Every kind of mask is drawn on it, and nowhere else on the slice.
    x1, y1, x2, y2 = (round(v) for v in expert.box)
    for kind in MaskKind:
        session.choose_mask(kind, MaskParameters())
        painted = session.layer(Part.MASK).data[session.z]
        assert painted[y1 : y2 + 1, x1 : x2 + 1].any(), kind
        assert painted.astype(int).sum() == painted[y1 : y2 + 1, x1 : x2 + 1].astype(int).sum(), kind

    # A bundled detector runs over all slices in its own process; its surest finding is accepted and saved.
    panel = DetectPanel(viewer, worker)
    qtbot.addWidget(panel)
    panel.checkpoints.names.value = "faster_rcnn_bmc"
    panel.device.value = "cpu"
    panel.threshold.value = panel.threshold.min
    panel.run()
    qtbot.waitUntil(lambda: not panel.running, timeout=120_000)
    assert session.case.findings, panel.status.text()
    surest = max((row for row in session.case.rows if row.score), key=lambda row: row.score)
    session.jump(session.case.row(surest.key))
    review.decide(session, State.ACCEPTED)
    assert session.save()

    # Opened again, it is there, with where it came from.
    session = open_series(viewer, deeplesion, qtbot)
    assert len(viewer.layers) == 6
    (mined,) = [row for row in session.case.rows if row.annotation and row.annotation.source is Source.MINED]
    assert (mined.annotation.parent_id, mined.score, mined.native) == (surest.key, surest.score, surest.native)
    assert mined.annotation.detector.startswith("faster_rcnn_bmc ")
    assert mined.annotation.state is State.ACCEPTED
    assert len(session.case.annotations) == 2
    # What nobody decided on is there again, too, with the detector that found it.
    assert list(session.case.findings) == [mined.annotation.detector]
    assert sum(row.annotation is None for row in session.case.rows) > 5

    # The window of a scan that napari opened asks before edits are lost that are not saved by themselves.
    session.saves_itself = lambda: False
    session.case.add(3, (10.0, 10.0, 40.0, 40.0))
    asked = []
    session.ask_unsaved = lambda case: asked.append(case) or Answer.KEEP_OPEN
    event = QCloseEvent()
    QApplication.sendEvent(panel_window(viewer, "Review"), event)
    assert asked == [session.case]
    assert not event.isAccepted()
    session.case.annotations.undo()
