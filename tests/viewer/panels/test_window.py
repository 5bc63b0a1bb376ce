"""What closing napari's window asks and ends, wherever the panels are."""

from collections.abc import Callable
from pathlib import Path

import pytest
from napari import Viewer
from pytestqt.qtbot import QtBot
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QDockWidget

from napari_uld.lesions.findings import Findings
from napari_uld.viewer.panels import checkpoints as checkpoints_module
from napari_uld.viewer.panels.detect import DetectPanel
from napari_uld.viewer.panels.window import workbench_in_window
from napari_uld.viewer.plugin.reader import show_review
from napari_uld.viewer.session import Answer, Session
from napari_uld.viewer.state.case import Case

from ..conftest import FakeDetector, show

MakeViewer = Callable[..., Viewer]


@pytest.fixture
def opened(make_napari_viewer: MakeViewer, case: Case, qtbot: QtBot) -> Session:
    """A case in a real window, shown, with the Review panel docked."""
    viewer = make_napari_viewer(show=True)
    # napari's fixture closes the window too, and cannot where Qt has deleted it.
    viewer.window._qt_window.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose, False)
    session = workbench_in_window(viewer).session
    show(viewer, case)
    show_review()
    qtbot.wait(10)
    return session


def review_dock(session: Session) -> QDockWidget:
    (panel,) = [widget for name, widget in session.viewer.window.dock_widgets.items() if name.startswith("Review")]
    dock = panel
    while not isinstance(dock, QDockWidget):
        dock = dock.parent()
    return dock


@pytest.mark.parametrize("place", ["docked", "floating", "closed", "absent"])
def test_closing_the_window_asks_about_unsaved_edits_wherever_the_panel_is(
    opened: Session, qtbot: QtBot, place: str
) -> None:
    dock = review_dock(opened)
    if place == "floating":
        dock.setFloating(True)
    elif place == "closed":
        dock.close()
    elif place == "absent":
        opened.viewer.window.remove_dock_widget(dock)
    qtbot.wait(10)
    window = opened.viewer.window._qt_window
    opened.case.add(3, (10.0, 10.0, 40.0, 40.0))
    asked = []
    opened.ask_unsaved = lambda case: asked.append(case) or Answer.KEEP_OPEN
    window.close()
    assert asked == [opened.case]
    assert window.isVisible()
    opened.case.annotations.undo()
    window.close()
    assert asked == [opened.case]
    assert not window.isVisible()


@pytest.fixture
def running(
    opened: Session, findings: Findings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, qtbot: QtBot
) -> DetectPanel:
    """A detection that goes on until it is cancelled, in a panel that floats."""
    monkeypatch.setattr(checkpoints_module, "bundled_checkpoints", lambda: {"tiny": tmp_path})
    monkeypatch.setattr(checkpoints_module, "find_checkpoint", lambda name: tmp_path)
    panel = DetectPanel(opened.viewer, FakeDetector(findings, waits=True))
    dock = opened.viewer.window.add_dock_widget(panel, name="Detect here")
    dock.setFloating(True)
    panel.run()
    qtbot.waitUntil(lambda: bool(panel.detector.calls))
    return panel


def test_minimising_and_hiding_leave_a_detection_running(running: DetectPanel, qtbot: QtBot) -> None:
    window = running.session.viewer.window._qt_window
    running.window().hide()
    window.showMinimized()
    qtbot.wait(20)
    window.hide()
    window.showNormal()
    qtbot.wait(20)
    assert running.running
    assert not running.detector.cancelled
    running.detector.waits = False
    qtbot.waitUntil(lambda: not running.running, timeout=5000)
    assert running.session.case.findings is not None


def test_closing_the_window_cancels_a_detection_and_ends_its_process(running: DetectPanel, qtbot: QtBot) -> None:
    running.session.viewer.window._qt_window.close()
    assert running.detector.cancelled
    qtbot.waitUntil(lambda: not running.running, timeout=5000)
    assert running.detector.closed
