"""What is said where there is nothing yet."""

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.settings import get_plugin_settings
from pytestqt.qtbot import QtBot
from qtpy.QtGui import QImage
from qtpy.QtWidgets import QWidget

from napari_uld.lesions.annotations import Annotations
from napari_uld.lesions.findings import Findings
from napari_uld.viewer.panels.detect import DetectPanel
from napari_uld.viewer.panels.empty import NO_SCAN
from napari_uld.viewer.panels.inside import InsidePanel
from napari_uld.viewer.panels.masks import MasksPanel
from napari_uld.viewer.panels.review import ReviewPanel
from napari_uld.viewer.session import Session
from napari_uld.viewer.state.case import Case
from napari_uld.viewer.state.settings import PLUGIN

from ..conftest import FakeDetector, show
from .looks import FakeLooker


def picture(widget: QWidget) -> np.ndarray:
    image = widget.grab().toImage().convertToFormat(QImage.Format.Format_Grayscale8)
    pixels = np.frombuffer(image.constBits().asarray(image.sizeInBytes()), np.uint8)
    return pixels.reshape(image.height(), image.bytesPerLine()).copy()


def test_without_a_scan_every_panel_says_that_one_is_to_be_opened(viewer: ViewerModel, qtbot: QtBot) -> None:
    review, masks = ReviewPanel(viewer), MasksPanel(viewer)
    detect, inside = DetectPanel(viewer, FakeDetector()), InsidePanel(viewer, FakeLooker())
    for panel in (review, masks, detect, inside):
        qtbot.addWidget(panel)
    said = (review.table.empty, masks.problem.text(), detect.status.text(), inside.status.text())
    assert [text.startswith(NO_SCAN) for text in said] == [True] * 4


def test_an_empty_table_says_what_to_do_next(viewer: ViewerModel, case: Case, findings: Findings, qtbot: QtBot) -> None:
    panel = ReviewPanel(viewer)
    qtbot.addWidget(panel)
    bare = Case(case.volume, Annotations("1.2.3"), case.path)
    show(viewer, bare)
    assert panel.table.empty.startswith("No lesion is marked yet. Run a detector in Detect")
    bare.set_findings(findings)
    bare.threshold = 0.99
    assert panel.table.empty.startswith("All that was found scores below the threshold")


def test_what_is_said_is_seen_where_there_are_no_rows_and_only_there(
    session: Session, findings: Findings, qtbot: QtBot
) -> None:
    panel = ReviewPanel(session.viewer)
    qtbot.addWidget(panel)
    panel.resize(500, 700)
    panel.show()
    qtbot.waitExposed(panel)

    def changes() -> bool:
        panel.table.empty = ""
        without = picture(panel.table.viewport())
        panel.table.empty = "Nothing here"
        return bool((picture(panel.table.viewport()) != without).any())

    assert not changes()
    session.viewer.layers.remove(session.layer("CT"))
    assert changes()


@pytest.mark.usefixtures("tiny_checkpoint")
def test_a_detector_that_was_not_run_and_one_that_found_nothing_are_told_apart(
    viewer: ViewerModel, case: Case, findings: Findings, qtbot: QtBot
) -> None:
    show(viewer, case)
    panel = DetectPanel(viewer, FakeDetector(findings.take(np.zeros(len(findings), bool))))
    qtbot.addWidget(panel)
    panel.run()
    qtbot.waitUntil(lambda: not panel.running, timeout=5000)
    assert panel.status.text() == "fake found nothing on this scan."


def test_a_lesion_is_asked_for_where_none_is_in_hand(session: Session, qtbot: QtBot) -> None:
    panel = MasksPanel(session.viewer)
    qtbot.addWidget(panel)
    session.case.select(None)
    assert panel.problem.text().startswith("No lesion is in hand")
    session.case.select(session.case.rows[0].key)
    assert panel.problem.text() == ""


def test_what_to_begin_with_is_said_once_and_again_where_the_preferences_ask_for_it(
    viewer: ViewerModel, qtbot: QtBot
) -> None:
    def hidden() -> bool:
        panel = ReviewPanel(viewer)
        qtbot.addWidget(panel)
        return panel.hint.isHidden()

    first = ReviewPanel(viewer)
    qtbot.addWidget(first)
    assert not first.hint.isHidden()
    first.hint.done.click()
    assert first.hint.isHidden()
    assert hidden()
    get_plugin_settings(PLUGIN).review.hint = True
    assert not hidden()


def test_no_panel_is_narrower_than_what_is_in_it(viewer: ViewerModel, qtbot: QtBot) -> None:
    for panel in (ReviewPanel(viewer), MasksPanel(viewer), InsidePanel(viewer, FakeLooker())):
        qtbot.addWidget(panel)
        panel.resize(100, 600)
        panel.setMinimumWidth(panel.minimumSizeHint().width())
        panel.show()
        qtbot.waitExposed(panel)
        assert panel.horizontalScrollBar().maximum() == 0
