"""What ties a session to napari's main window: its questions, and what happens when it closes."""

# PyQt's stubs call every getter optional.
# mypy: disable-error-code="override"

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from weakref import ref

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image
from napari.qt import QtViewer, get_qapp
from napari.viewer import Viewer
from qtpy.QtCore import QEvent, QObject, QTimer
from qtpy.QtWidgets import QApplication, QWidget

from napari_uld.viewer.layers.parts import UNITS
from napari_uld.viewer.panels.dialogs import ask_comment, ask_restore, ask_save_path, ask_unsaved
from napari_uld.viewer.panels.lesion_menu import ask_type
from napari_uld.viewer.panels.notices import FewNotices
from napari_uld.viewer.session import Session
from napari_uld.viewer.state.settings import settings
from napari_uld.viewer.tools.workbench import Workbench, workbench_of

# Milliseconds without a further edit after which edits are saved.
AUTO_SAVE_AFTER = 2000
# Milliseconds, at least, until what changed was drawn: of none Qt makes an event that comes before the drawing.
AFTER_DRAWING = 20
# What napari calls what it writes beside a slider: the index of the slice, a line, the last index.
NAPARIS_NUMBERS = ("slice_label", "slice_label_sep")
# A shortcut's key is no press of its own.
INTERRUPTS = (
    QEvent.Type.KeyPress,
    QEvent.Type.ShortcutOverride,
    QEvent.Type.MouseButtonPress,
    QEvent.Type.Wheel,
)


class WindowGuard(QObject):
    """Watches the main window: asks before unsaved edits are lost, tells the session when it is gone.

    It is the window's own child: where the panels are, and whether they are open, does not matter.

    Parameters
    ----------
    window
        napari's main window.
    session
        The session of the viewer in it.
    """

    def __init__(self, window: QWidget, session: Session) -> None:
        super().__init__(window)
        self._window = window
        self._session = session
        self._closing = self._gone = False
        window.installEventFilter(self)
        # Most of what is there by now, modules and widgets, stays as long as the window. For Python to look through all
        # of it for what may go takes a sixth of a second, in the midst of anything.
        gc.collect()
        gc.freeze()
        session.case_changed.connect(self._renumber)
        self._renumber()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802
        """Keep the window open where there are unsaved edits and the person says so."""
        if watched is self._window and event.type() == QEvent.Type.Close:
            self._closing = self._session.may_close()
            if not self._closing:
                event.ignore()
                return True
            gc.unfreeze()
        # Minimising hides too, and napari may still refuse to close: only both together are the end.
        elif watched is self._window and event.type() == QEvent.Type.Hide and self._closing and not event.spontaneous():
            self._closing, self._gone = False, True
            self._session.closed.emit()
        return super().eventFilter(watched, event)

    def _renumber(self) -> None:
        # Once napari has made its sliders.
        self._session.later(self._number_slices)

    def _number_slices(self) -> None:
        """Hide napari's own numbers beside its sliders while a scan is open: they count from the feet, from 0 on."""
        if self._gone:
            return
        for name in NAPARIS_NUMBERS:
            for label in self._window.findChildren(QWidget, name):
                label.setVisible(self._session.case is None)


class Clock(QObject):
    """Does something every so often until it is called, or until the person presses or turns anything.

    What takes longer than its turn delays the next one: nothing waits in a queue.

    Parameters
    ----------
    seconds
        From one time to the next.
    act
        What is done.
    interrupted
        Called when the person does something, after it was done.
    """

    def __init__(self, seconds: float, act: Callable[[], object], interrupted: Callable[[], object]) -> None:
        super().__init__()
        self._interrupted = interrupted
        self._timer = QTimer(self)
        self._timer.timeout.connect(act)
        self._timer.start(round(1000 * seconds))
        # The press that started it is still on its way through the window.
        QTimer.singleShot(0, self._listen)

    def __call__(self) -> None:
        """End."""
        self._timer.stop()
        get_qapp().removeEventFilter(self)
        self.deleteLater()

    def _listen(self) -> None:
        if self._timer.isActive():
            get_qapp().installEventFilter(self)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802
        """Hear of keys, buttons and the wheel, all of which do what they always do."""
        if event.type() in INTERRUPTS:
            QTimer.singleShot(0, self._interrupted)
        return super().eventFilter(watched, event)


class _Soon:
    """Does something once it was not asked for again for a while."""

    def __init__(self) -> None:
        self._timer = QTimer()
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(lambda: self._act())
        self._act: Callable[[], None] = lambda: None

    def __call__(self, act: Callable[[], None]) -> None:
        self._act = act
        self._timer.start(AUTO_SAVE_AFTER)


def main_window(viewer: ViewerModel) -> QWidget | None:
    """Give napari's main window about a viewer's canvas; None where a viewer has none, as in a script's model."""
    for window in QApplication.topLevelWidgets() if isinstance(viewer, Viewer) else ():
        # Linked views have canvases in the same window, of other viewers.
        if any(canvas.viewer is viewer for canvas in window.findChildren(QtViewer)):
            return window
    return None


def workbench_in_window(viewer: ViewerModel) -> Workbench:
    """Give the workbench of a viewer; its session asks its questions in windows, guarded where the viewer has one."""
    workbench = workbench_of(viewer)
    session = workbench.session
    window = main_window(session.viewer)
    if window is None or window.findChild(WindowGuard) is None:
        session.in_window, session.ask_unsaved = True, ask_unsaved
        session.ask_path = ask_save_path
        session.ask_restore = ask_restore
        session.ask_type, session.ask_comment = ask_type, ask_comment
        session.later = partial(QTimer.singleShot, 0)
        session.afterwards = partial(QTimer.singleShot, AFTER_DRAWING)
        session.soon, session.saves_itself = _Soon(), lambda: settings().auto_save
        session.every = Clock
        session.shows_letters, session.shows_scale_bar = lambda: settings().letters, lambda: settings().scale_bar
        session.cine_rate = lambda: settings().cine_rate
        session.wheel_turns_slices = lambda: settings().wheel_turns_slices
    if window is not None and window.findChild(WindowGuard) is None:
        session.still = partial(_still, ref(window))
        session.show_masks(False)
        WindowGuard(window, session)
        FewNotices(window, session)
        # The first layer of a process reads a table of units: better while a person looks for a scan than as it opens.
        session.later(lambda: Image(np.zeros((1, 1, 1), np.int16), units=UNITS))
    return workbench


@contextmanager
def _still(window: ref[QWidget]) -> Iterator[None]:
    """Draw nothing of a window in the meantime."""
    shown = window()
    if shown is not None:
        shown.setUpdatesEnabled(False)
    try:
        yield
    finally:
        if shown is not None:
            shown.setUpdatesEnabled(True)
