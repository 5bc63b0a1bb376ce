import pytest
from psygnal import Signal, SignalInstance
from pytestqt.qtbot import QtBot
from qtpy.QtWidgets import QWidget

from napari_uld.viewer.panels.detect import DetectPanel
from napari_uld.viewer.panels.inside import InsidePanel
from napari_uld.viewer.panels.masks import MasksPanel
from napari_uld.viewer.panels.review import ReviewPanel
from napari_uld.viewer.session import Session
from napari_uld.viewer.state.links import Links
from napari_uld.viewer.tools.workbench import workbench_of


class Door:
    opened = Signal()
    closed = Signal()


def test_what_was_connected_together_is_let_go_of_together() -> None:
    door, heard, links = Door(), [], Links()
    links.connect((door.opened, door.closed), lambda: heard.append("moved"))
    links.connect(door.closed, lambda: heard.append("shut"))
    door.opened.emit()
    door.closed.emit()
    assert heard == ["moved", "moved", "shut"]
    links.release()
    door.closed.emit()
    assert len(heard) == 3
    assert all(isinstance(s, SignalInstance) and not len(s) for s in (door.opened, door.closed))


def test_links_that_were_let_go_of_can_be_made_again() -> None:
    door, heard, links = Door(), [], Links()
    for _ in range(2):
        links.connect(door.opened, lambda: heard.append("moved"))
        links.release()
    links.connect(door.opened, lambda: heard.append("moved"))
    door.opened.emit()
    assert heard == ["moved"]


@pytest.mark.parametrize("make", [ReviewPanel, DetectPanel, MasksPanel, InsidePanel])
def test_a_panel_follows_nothing_any_more_once_its_window_is_gone(
    make: type[QWidget], session: Session, qtbot: QtBot
) -> None:
    case, brush, comparison = session.case, workbench_of(session.viewer).brush, workbench_of(session.viewer).comparison
    signals = [session.case_changed, session.view_changed, brush.changed, comparison.changed]
    signals += [case.rows_changed, case.current_changed, case.threshold_changed, case.saved]
    before = [len(signal) for signal in signals]
    panel = make(session.viewer)
    qtbot.addWidget(panel)
    assert sum(len(signal) for signal in signals) > sum(before)
    session.closed.emit()
    assert [len(signal) for signal in signals] == before
