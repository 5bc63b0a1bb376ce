"""A person who reviews a scan in a real window until the process is killed, and tells what is on the screen.

python -m tests.trust.reviewer SCAN FINDINGS SEED PIPE
"""

import json
import os
import random
import sys
from pathlib import Path

import napari
from napari.utils.notifications import Notification, NotificationSeverity, notification_manager
from qtpy.QtCore import QPoint, Qt, QTimer
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QMessageBox, QPushButton, QWidget

from napari_uld.viewer.panels import window as window_module
from napari_uld.viewer.panels.review import ReviewPanel
from napari_uld.viewer.tools.workbench import workbench_of

# Milliseconds without an edit until decisions are saved: short, so that kills meet saves, or as the window has it,
# so that they meet decisions that stand in the log alone.
SAVED_AFTER = (50, window_module.AUTO_SAVE_AFTER)
PAUSES = (0, 0, 5, 20, 60, 150)  # milliseconds between two acts
# What a table shows: a lesion's cells by its key.
Shown = dict[str, list[str]]


class Reviewer:
    """Opens a scan, wants back what a crash left, and then does whatever a person may do.

    Parameters
    ----------
    scan, findings
        The scan's file, and one of what a detector found in it.
    seed
        Of what is done.
    told
        Descriptor of the pipe that hears what the table shows.
    """

    def __init__(self, scan: Path, findings: Path, seed: int, told: int) -> None:
        self._scan, self._findings, self._told = scan, findings, told
        self._rng = random.Random(seed)
        window_module.AUTO_SAVE_AFTER = self._rng.choice(SAVED_AFTER)
        self._shown: Shown = {}
        notification_manager.notification_ready.connect(_end_with)
        self._viewer = napari.Viewer()
        self._viewer.window.resize(1100, 750)  # a small canvas is drawn sooner, and more is done before the kill
        self._canvas: QWidget = self._viewer.window._qt_viewer.canvas.native
        self._session = workbench_of(self._viewer).session
        self._answering = QTimer()
        self._answering.timeout.connect(_answer_yes)
        self._answering.start(10)

    def open(self) -> None:
        """Open the scan, and the findings where they were not kept yet."""
        self._tell({})
        self._viewer.open(self._scan, plugin="napari-uld")
        while self._session.case is None or self._session.case.unsaved or QApplication.activeModalWidget():
            QTest.qWait(5)
        self._panel = self._viewer.window._qt_window.findChild(ReviewPanel)
        QTest.qWait(100)  # the window is laid out
        self._tell_news(everything=True)
        if not self._session.case.findings:
            self._open_findings()

    def review(self) -> None:
        """Do one thing after the other."""
        key, panel = self._press, self._panel
        acts = [
            (4, lambda: key("G")),
            (4, lambda: key("N")),
            (3, lambda: self._click(panel.accept)),
            (3, lambda: self._click(panel.reject)),
            (3, lambda: key(self._rng.choice(["Down", "Up", "J", "K"]))),
            (3, self._choose_in_table),
            (1, lambda: key("Y")),
            (1, self._describe_several),
            (2, lambda: key("U")),
            (1, lambda: self._click(panel.undo)),
            (1, lambda: self._click(panel.redo)),
            (1, lambda: key("W")),
            (2, lambda: self._click(panel.save)),
            (2, self._draw),
            (2, self._move_box),
            (1, self._delete_box),
            (0.5, self._open_findings),
        ]
        weights, doings = zip(*acts, strict=True)
        while True:
            self._rng.choices(doings, weights)[0]()
            self._tell_news()
            QTest.qWait(self._rng.choice(PAUSES))

    # -- what a person does --

    def _press(self, key: str) -> None:
        QTest.keyClick(self._canvas, getattr(Qt.Key, f"Key_{key}"))

    def _click(self, button: QPushButton) -> None:
        QTest.mouseClick(button, Qt.MouseButton.LeftButton)

    def _choose_in_table(self) -> None:
        table = self._panel.table
        row = self._rng.randrange(max(table.model().rowCount(), 1))
        place = table.visualRect(table.model().index(row, 0)).center()
        QTest.mouseClick(table.viewport(), Qt.MouseButton.LeftButton, pos=place)

    def _describe_several(self) -> None:
        """Choose some rows and comment on them, or decide on them, as one action."""
        case = self._session.case
        rows = self._rng.sample(case.rows, min(3, len(case.rows)))
        if rows:
            case.choose(rows[0].key, [row.key for row in rows])
            self._session.ask_comment = lambda written: f"{self._rng.randrange(10)}"
            self._press(self._rng.choice("CGN"))

    def _draw(self) -> None:
        """Draw a lesion somewhere in the middle of the slice."""
        self._click(self._panel.draw)
        middle, reach = self._canvas.rect().center(), min(self._canvas.width(), self._canvas.height()) // 4
        start = middle - QPoint(self._rng.randrange(reach), self._rng.randrange(reach))
        self._drag(start, start + QPoint(*(self._rng.randrange(reach // 3, reach) for _ in range(2))))

    def _move_box(self) -> None:
        current = self._session.case.current
        if current is None:
            return
        self._click(self._panel.edit_box)
        x1, y1, x2, y2 = current.box
        camera, (_, dy, dx) = self._viewer.scene.camera, self._session.case.volume.spacing
        _, oy, ox = self._session.case.volume.origin
        down, right = ((y1 + y2) / 2 * dy + oy - camera.center[-2]), ((x1 + x2) / 2 * dx + ox - camera.center[-1])
        start = self._canvas.rect().center() + QPoint(round(right * camera.zoom), round(down * camera.zoom))
        self._drag(start, start + QPoint(self._rng.randint(-40, 40), self._rng.randint(-40, 40)))

    def _delete_box(self) -> None:
        self._click(self._panel.edit_box)
        self._press("Delete")

    def _drag(self, start: QPoint, end: QPoint) -> None:
        left, none = Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
        QTest.mouseMove(self._canvas, start)
        QTest.mousePress(self._canvas, left, none, start)
        for part in (0.3, 0.6, 1.0):
            QTest.qWait(20)  # napari skips moves that follow each other too closely
            QTest.mouseMove(self._canvas, start + (end - start) * part)
        QTest.qWait(20)
        QTest.mouseRelease(self._canvas, left, none, end)
        QTest.qWait(5)

    def _open_findings(self) -> None:
        self._viewer.open(self._findings, plugin="napari-uld")

    # -- what is told of it --

    def _tell_news(self, *, everything: bool = False) -> None:
        """Tell what the table shows now and did not show before, once it is painted."""
        self._panel.table.viewport().repaint()
        model = self._panel.sorted
        shown = {
            self._panel.model.rows[model.mapToSource(model.index(i, 0)).row()].key: [
                model.index(i, column).data() for column in range(model.columnCount())
            ]
            for i in range(model.rowCount())
        }
        news = {key: cells for key, cells in shown.items() if self._shown.get(key) != cells}
        gone = dict.fromkeys(self._shown.keys() - shown.keys())
        self._shown = shown
        if news or gone or everything:
            self._tell({**news, **gone})

    def _tell(self, news: dict[str, list[str] | None]) -> None:
        os.write(self._told, (json.dumps(news) + "\n").encode())


def _answer_yes() -> None:
    """Say yes to whatever is asked."""
    question = QApplication.activeModalWidget()
    if isinstance(question, QMessageBox):
        question.button(QMessageBox.StandardButton.Yes).click()


def _end_with(notification: Notification) -> None:
    """A review in which anything fails has ended by itself."""
    if notification.severity >= NotificationSeverity.ERROR:
        sys.stderr.write(f"{notification}\n{getattr(notification, 'as_text', str)()}\n")
        sys.stderr.flush()
        os._exit(1)


if __name__ == "__main__":
    reviewer = Reviewer(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
    with notification_manager:  # as napari does while it runs: errors in slots are notifications
        reviewer.open()
        reviewer.review()
