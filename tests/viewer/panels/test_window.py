"""What closing the main window asks and ends, wherever the panels are."""

import gc
from collections.abc import Callable

import pytest
from napari import Viewer
from pytestqt.qtbot import QtBot
from qtpy.QtCore import QEvent, QObject, Qt
from qtpy.QtOpenGLWidgets import QOpenGLWidget
from qtpy.QtWidgets import QDockWidget, QLineEdit, QMainWindow, QWidget

from napari_uld.lesions.findings import Findings
from napari_uld.viewer.layers.parts import Part
from napari_uld.viewer.panels import window as window_module
from napari_uld.viewer.panels.detect import DetectPanel
from napari_uld.viewer.panels.docking import show_review
from napari_uld.viewer.panels.review import ReviewPanel
from napari_uld.viewer.panels.window import WindowGuard, main_window, workbench_in_window
from napari_uld.viewer.session import Answer, Session
from napari_uld.viewer.state.case import Case

from ..conftest import FakeDetector, show


@pytest.fixture
def window(session: Session, qtbot: QtBot) -> QMainWindow:
    """A main window that stands in for napari's, shown and guarded."""
    window = QMainWindow()
    qtbot.addWidget(window)
    WindowGuard(window, session)
    window.show()
    qtbot.waitExposed(window)
    return window


def docked(window: QMainWindow, panel: ReviewPanel | DetectPanel) -> QDockWidget:
    dock = QDockWidget(window)
    dock.setWidget(panel)
    window.addDockWidget(Qt.DockWidgetArea.RightDockWidgetArea, dock)
    return dock


@pytest.mark.parametrize("place", ["docked", "floating", "closed", "absent"])
def test_closing_the_window_asks_about_unsaved_edits_wherever_the_panel_is(
    window: QMainWindow, session: Session, qtbot: QtBot, place: str
) -> None:
    if place != "absent":
        dock = docked(window, ReviewPanel(session.viewer))
        dock.setFloating(place == "floating")
        dock.setVisible(place != "closed")
    qtbot.wait(10)
    session.case.add(3, (10.0, 10.0, 40.0, 40.0))
    asked = []
    session.saves_itself = lambda: False
    session.ask_unsaved = lambda case: asked.append(case) or Answer.KEEP_OPEN
    window.close()
    assert asked == [session.case]
    assert window.isVisible()
    session.case.annotations.undo()
    window.close()
    assert asked == [session.case]
    assert not window.isVisible()


def test_closing_the_window_saves_what_a_person_decided(window: QMainWindow, session: Session, qtbot: QtBot) -> None:
    docked(window, ReviewPanel(session.viewer))
    session.case.add(3, (10.0, 10.0, 40.0, 40.0))
    session.ask_unsaved = lambda case: pytest.fail("there is nothing to ask")
    window.close()
    assert not window.isVisible()
    assert session.case.path.exists()
    assert not session.case.annotations.unsaved


def test_decisions_are_saved_by_themselves_a_moment_later(
    window: QMainWindow, session: Session, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(window_module, "AUTO_SAVE_AFTER", 20)
    docked(window, ReviewPanel(session.viewer))
    session.case.add(3, (10.0, 10.0, 40.0, 40.0))
    assert session.case.annotations.unsaved
    qtbot.waitUntil(lambda: not session.case.annotations.unsaved, timeout=5000)
    assert session.case.path.exists()


@pytest.mark.usefixtures("tiny_checkpoint")
def test_minimising_and_hiding_leave_a_detection_running(
    window: QMainWindow, session: Session, findings: Findings, qtbot: QtBot
) -> None:
    session.case.remove_findings(findings.detector)
    panel = DetectPanel(session.viewer, FakeDetector(findings, waits=True))
    dock = docked(window, panel)
    dock.setFloating(True)
    panel.run()
    qtbot.waitUntil(lambda: bool(panel.detector.calls))
    dock.hide()
    window.showMinimized()
    qtbot.wait(20)
    window.hide()
    window.showNormal()
    qtbot.wait(20)
    assert panel.running
    assert not panel.detector.cancelled
    panel.detector.waits = False
    qtbot.waitUntil(lambda: not panel.running, timeout=5000)
    assert session.case.findings


@pytest.mark.usefixtures("tiny_checkpoint")
def test_closing_napari_asks_first_then_cancels_a_detection_and_ends_its_process(
    make_napari_viewer: Callable[..., Viewer], case: Case, findings: Findings, qtbot: QtBot
) -> None:
    viewer = make_napari_viewer(show=True)
    window = viewer.window._qt_window
    # napari's fixture closes the window too, and cannot where Qt has deleted it.
    window.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose, False)
    session = workbench_in_window(viewer).session
    show(viewer, case)
    show_review()
    panel = DetectPanel(viewer, FakeDetector(findings, waits=True))
    viewer.window.add_dock_widget(panel, name="Detect here").setFloating(True)
    panel.run()
    qtbot.waitUntil(lambda: bool(panel.detector.calls))
    case.add(3, (10.0, 10.0, 40.0, 40.0))
    asked = []
    session.saves_itself = lambda: False
    session.ask_unsaved = lambda case: asked.append(case) or Answer.KEEP_OPEN
    window.close()
    assert (asked, window.isVisible(), panel.running) == ([case], True, True)
    # A slice has one number, the caption's: napari's own are out of sight.
    numbers = window.findChildren(QLineEdit, "slice_label")
    assert numbers
    assert not any(number.isVisible() for number in numbers)
    case.annotations.undo()
    window.close()
    assert (asked, window.isVisible()) == ([case], False)
    assert panel.detector.cancelled
    qtbot.waitUntil(lambda: not panel.running, timeout=5000)
    assert panel.detector.closed


def test_what_is_there_when_a_window_opens_is_no_garbage_until_it_closes(window: QMainWindow, session: Session) -> None:
    assert gc.get_freeze_count() > 0
    session.ask_unsaved = lambda case: Answer.KEEP_OPEN
    session.saves_itself = lambda: False
    session.case.add(3, (10.0, 10.0, 40.0, 40.0))
    window.close()
    assert gc.get_freeze_count() > 0
    session.case.annotations.undo()
    window.close()
    assert gc.get_freeze_count() == 0


def test_a_step_from_slice_to_slice_is_drawn_once_and_a_first_scan_only_when_all_of_it_is_there(
    make_napari_viewer: Callable[..., Viewer], case: Case, qtbot: QtBot
) -> None:
    viewer = make_napari_viewer(show=True)
    session = workbench_in_window(viewer).session
    canvas = main_window(viewer).findChild(QOpenGLWidget)
    qtbot.wait(50)
    drawn = Drawn(canvas)
    layers = []
    viewer.layers.events.inserted.connect(lambda event: layers.append(drawn.count))
    session.open(case)
    assert layers == [0] * len(Part), "nothing was drawn before the last layer was there"
    session.arrange()
    qtbot.waitUntil(lambda: drawn.count > 0)
    qtbot.wait(100)
    # "9 of 10" and "10 of 10" are not equally wide.
    for z in (2, 1, 0):
        drawn.count = 0
        session.show_slice(z)
        qtbot.waitUntil(lambda: drawn.count > 0)
        qtbot.wait(50)
        assert drawn.count == 1, z


class Drawn(QObject):
    """Counts how often a canvas is drawn."""

    def __init__(self, canvas: QWidget) -> None:
        super().__init__(canvas)
        self.canvas, self.count = canvas, 0
        canvas.installEventFilter(self)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802
        # Qt asks for a picture after a change of size, too, which a canvas that is not to be updated leaves be.
        self.count += event.type() == QEvent.Type.Paint and self.canvas.updatesEnabled()
        return super().eventFilter(watched, event)
