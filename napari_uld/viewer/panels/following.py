"""What a panel hears of its session and of the case that is open in it, as long as both are there."""

from collections.abc import Callable

from qtpy.QtWidgets import QWidget

from napari_uld.viewer.session import Session
from napari_uld.viewer.state.case import Case
from napari_uld.viewer.state.links import Links


class Following:
    """Connections that end by themselves: the case's when another is opened, all of them with the panel or the window.

    Parameters
    ----------
    panel
        Who hears.
    session
        The session.
    opened
        Called with the open case, or None, once `begin` is called and whenever that changes; it connects to the
        case by `case_links`.
    """

    def __init__(self, panel: QWidget, session: Session, opened: Callable[[Case | None], None]) -> None:
        self._session = session
        self._opened = opened
        self.links, self.case_links = Links(), Links()
        # A panel that is closed on its own is deleted on its own.
        panel.destroyed.connect(self._end)

    def begin(self) -> None:
        """Follow from now on."""
        self.links.connect(self._session.case_changed, self._change)
        # Qt deletes a panel with its window.
        self.links.connect(self._session.closed, self._end)
        self._change()

    def _change(self) -> None:
        self.case_links.release()
        self._opened(self._session.case)

    def _end(self) -> None:
        self.links.release()
        self.case_links.release()
