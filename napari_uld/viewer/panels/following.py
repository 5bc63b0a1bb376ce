"""What a panel hears of its session and of the case that is open in it, as long as its window is there."""

from collections.abc import Callable

from napari_uld.viewer.session import Session
from napari_uld.viewer.state.case import Case
from napari_uld.viewer.state.links import Links


class Following:
    """Connections that end by themselves: the case's when another is opened, all of them with the window.

    Parameters
    ----------
    session
        The session.
    opened
        Called with the open case, or None, once `begin` is called and whenever that changes; it connects to the
        case by `case_links`.
    """

    def __init__(self, session: Session, opened: Callable[[Case | None], None]) -> None:
        self._session = session
        self._opened = opened
        self.links, self.case_links = Links(), Links()

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
