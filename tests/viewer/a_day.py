"""A person's day in a real window, by hand: keys, wheel and mouse alone. It ends as days of programs sometimes do.

    python -m tests.viewer.a_day FOLDER

Prints what the table showed of each scan as JSON, and is then killed.
"""

import json
import os
import signal
import sys
from pathlib import Path

import napari
from napari.utils.notifications import notification_manager
from qtpy.QtCore import QPoint, QPointF, Qt, QTimer
from qtpy.QtGui import QWheelEvent
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QPushButton, QWidget

from napari_uld.viewer.panels.cases import CasesPanel
from napari_uld.viewer.panels.detect import DetectPanel
from napari_uld.viewer.panels.dialogs import EVERY_SCAN
from napari_uld.viewer.panels.lesion_table import cells
from napari_uld.viewer.panels.review import ReviewPanel
from napari_uld.viewer.plugin import reader
from napari_uld.viewer.state import case_store
from napari_uld.viewer.state.settings import PLUGIN
from napari_uld.viewer.tools.workbench import workbench_of

PATIENCE = 180  # seconds


class Hands:
    """Hands on a window."""

    def __init__(self) -> None:
        self.viewer = napari.Viewer()
        self.viewer.window.resize(1300, 850)
        self.canvas: QWidget = self.viewer.window._qt_viewer.canvas.native
        self.session = workbench_of(self.viewer).session

    def panel(self, kind: type) -> QWidget:
        """The panel of a kind that is docked."""
        found = self.viewer.window._qt_window.findChild(kind)
        assert found is not None, kind
        return found

    def press(self, key: str) -> None:
        """Press a key over the canvas."""
        QTest.keyClick(self.canvas, getattr(Qt.Key, f"Key_{key}"))
        QTest.qWait(150)

    def click(self, button: QPushButton) -> None:
        """Click on a button that can be clicked."""
        assert button.isEnabled(), button.text()
        QTest.mouseClick(button, Qt.MouseButton.LeftButton)
        QTest.qWait(100)

    def wheel(self, notches: int) -> None:
        """Turn the wheel in the middle of the canvas."""
        middle = QPointF(self.canvas.rect().center())
        event = QWheelEvent(
            middle, QPointF(self.canvas.mapToGlobal(middle.toPoint())), QPoint(), QPoint(0, 120 * notches),
            Qt.MouseButton.NoButton, Qt.KeyboardModifier.NoModifier, Qt.ScrollPhase.NoScrollPhase, False,
        )  # fmt: skip
        QApplication.sendEvent(self.canvas, event)
        QTest.qWait(150)

    def at(self, x: float, y: float) -> QPoint:
        """Where a place of the shown slice (native pixels) lies on the canvas."""
        camera, volume = self.viewer.scene.camera, self.session.case.volume
        (_, dy, dx), (ox, oy, _) = volume.spacing, volume.origin
        down, right = y * dy + oy - camera.center[-2], x * dx + ox - camera.center[-1]
        return self.canvas.rect().center() + QPoint(round(right * camera.zoom), round(down * camera.zoom))

    def drag(self, start: QPoint, end: QPoint) -> None:
        """Drag with the left button."""
        left = Qt.MouseButton.LeftButton
        QTest.mouseMove(self.canvas, start)
        QTest.qWait(60)
        QTest.mousePress(self.canvas, left, pos=start)
        for step in (0.3, 0.6, 1.0):
            QTest.qWait(60)
            QTest.mouseMove(self.canvas, start + (end - start) * step)
        QTest.qWait(60)
        QTest.mouseRelease(self.canvas, left, pos=end)
        QTest.qWait(150)

    def answer(self, key: str) -> None:
        """Press a key in the menu that opens next."""

        def act() -> None:
            menu = QApplication.activePopupWidget()
            if menu is None:
                QTimer.singleShot(50, act)
            else:
                QTest.keyClick(menu, getattr(Qt.Key, f"Key_{key}"))

        QTimer.singleShot(50, act)

    def table(self) -> dict[str, list[str]]:
        """What the review's table shows of each lesion that somebody decided on."""
        rows = self.session.case.rows
        return {row.key: cells(row) for row in rows if row.annotation is not None}


def main(folder: Path) -> None:
    """Spend the day."""
    case_store.data_folder = lambda: folder.parent / "data"
    reader.choose_scan = lambda said, scans: EVERY_SCAN
    notification_manager.notification_ready.connect(lambda note: sys.stderr.write(f"{note.message}\n"))
    hands = Hands()
    hands.viewer.open(folder, plugin=PLUGIN)
    QTest.qWait(500)
    assert hands.panel(CasesPanel).cases is not None
    hands.press("PageDown")
    first = hands.session.case.volume.name
    QTest.qWait(300)
    hands.press("PageDown")
    assert hands.session.case.volume.name != first
    shown = {hands.session.case.volume.name: review(hands)}
    hands.press("PageDown")
    shown[hands.session.case.volume.name] = draw(hands)
    sys.stdout.write(json.dumps(shown) + "\n")
    sys.stdout.flush()
    os.kill(os.getpid(), signal.SIGKILL)


def review(hands: Hands) -> dict[str, list[str]]:
    """Detect, measure by one key, correct a diameter, say the type, reject, take back, reject again."""
    session = hands.session
    z = session.z
    hands.wheel(1)
    hands.wheel(1)
    assert session.z == z + 2
    _, detect = hands.viewer.window.add_plugin_dock_widget(PLUGIN, "Detect", tabify=True)
    assert isinstance(detect, DetectPanel)
    QTest.qWait(300)
    detect.device.value = "cpu"
    detect.threshold.value = detect.threshold.min
    hands.click(detect.run_button.native)
    waited = 0
    while detect.running and waited < PATIENCE * 10:
        QTest.qWait(100)
        waited += 1
    assert session.case.findings, detect.status.text()
    detect.threshold.value = detect.threshold.min
    session.fit_body()
    hands.press("J")
    hands.press("M")
    row = session.case.current
    (x, y), other = row.recist.long
    length = row.diameter
    assert hands.viewer.layers.selection.active.mode == "direct"
    # Away from its other end.
    hands.drag(
        hands.at(x, y), hands.at(x, y) + QPoint(*(12 if a > b else -12 for a, b in ((x, other[0]), (y, other[1]))))
    )
    assert session.case.row(row.key).diameter > length
    hands.answer("5")
    hands.press("T")
    hands.press("J")
    rejected = session.case.current.key
    hands.press("N")
    hands.press("U")
    assert session.case.row(rejected).annotation is None
    hands.press("N")
    return hands.table()


def draw(hands: Hands) -> dict[str, list[str]]:
    """Draw a lesion that nobody found."""
    hands.session.fit_body()
    QTest.qWait(100)
    hands.click(hands.panel(ReviewPanel).draw)
    middle = hands.canvas.rect().center()
    hands.drag(middle - QPoint(60, 40), middle + QPoint(30, 40))
    assert len(hands.table()) == 1
    return hands.table()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
