"""Notices that nobody saw go: in a window that is not the active one napari keeps them all."""

import pytest
from napari.utils.notifications import Notification
from pytestqt.qtbot import QtBot
from qtpy.QtWidgets import QDialog, QLineEdit, QMainWindow

from napari_uld.viewer.panels.notices import MOST, FewNotices
from napari_uld.viewer.session import Session


@pytest.fixture
def window(session: Session, qtbot: QtBot) -> QMainWindow:
    """A main window that stands in for napari's, with more notices over it than are kept."""
    window = QMainWindow()
    qtbot.addWidget(window)
    window.setCentralWidget(QLineEdit())
    for _ in range(MOST + 3):
        notice = QDialog(window)
        notice.setProperty("expanded", False)
        notice.show()
    window.few = FewNotices(window, session)
    window.show()
    qtbot.waitExposed(window)
    return window


def seen(window: QMainWindow) -> list[QDialog]:
    return [notice for notice in window.findChildren(QDialog) if notice.isVisible()]


def test_the_last_few_notices_stay(window: QMainWindow) -> None:
    before = seen(window)
    window.few._came(Notification("one more"))
    assert seen(window) == before[-MOST:]


def test_a_notice_that_was_unfolded_stays(window: QMainWindow) -> None:
    first = seen(window)[0]
    first.setProperty("expanded", True)
    window.few._came(Notification("one more"))
    assert first in seen(window)


def test_no_notice_closes_while_a_person_types(window: QMainWindow, qtbot: QtBot) -> None:
    before = seen(window)
    window.activateWindow()
    window.centralWidget().setFocus()
    qtbot.waitUntil(window.centralWidget().hasFocus)
    window.few._came(Notification("one more"))
    assert seen(window) == before
