"""napari's notices lie one upon the other, and in a window that is not the active one none goes away by itself."""

from napari.utils.notifications import Notification, notification_manager
from qtpy.QtCore import QObject
from qtpy.QtWidgets import QApplication, QDialog, QWidget
from superqt.utils import ensure_main_thread

from napari_uld.viewer.session import Session

# A fifth of a megabyte each; the topmost alone is seen.
MOST = 5


class FewNotices(QObject):
    """Closes all but the last few notices whenever there is another one.

    Parameters
    ----------
    window
        napari's main window, whose child it is.
    session
        The session of the viewer in it.
    """

    def __init__(self, window: QWidget, session: Session) -> None:
        super().__init__(window)
        self._window = window
        notification_manager.notification_ready.connect(self._came)
        session.closed.connect(self._end)

    @ensure_main_thread
    def _came(self, _notification: Notification) -> None:
        # A notice that closes takes the focus from what a person types into.
        focus = QApplication.focusWidget()
        for notice in self._notices()[:-MOST]:
            if focus is None or focus is notice.parent():
                notice.close()

    def _notices(self) -> list[QDialog]:
        """Those that nobody has unfolded, the oldest first."""
        return [each for each in self._window.findChildren(QDialog) if each.property("expanded") is False]

    def _end(self) -> None:
        notification_manager.notification_ready.disconnect(self._came)
