"""What a panel hears of its session and of the case that is open in it, as long as both are there."""

# PyQt's stubs call every getter optional.
# mypy: disable-error-code="override"

from collections.abc import Callable

from qtpy.QtCore import QEvent, QObject
from qtpy.QtWidgets import QWidget

from napari_uld.viewer.session import Session
from napari_uld.viewer.state.case import Case
from napari_uld.viewer.state.links import Links


class Leaving(QObject):
    """Does something once, when a panel leaves its dock, its window closes or somebody deletes it.

    napari takes a panel that is closed out of its dock and forgets it; here it is deleted, too.

    Parameters
    ----------
    panel
        The panel.
    session
        The session of its window.
    act
        What is done; a panel that leaves its dock is still in its window then.
    """

    def __init__(self, panel: QWidget, session: Session, act: Callable[[], object]) -> None:
        super().__init__(panel)
        self._panel = panel
        self._act: Callable[[], object] | None = act
        panel.installEventFilter(self)
        panel.destroyed.connect(self._leave)
        session.closed.connect(self._leave)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802
        """Hear that the panel goes from where it was put: a dock that floats keeps it."""
        if watched is self._panel and self._takes_away(event):
            self._leave()
            self._panel.deleteLater()
        return super().eventFilter(watched, event)

    def _takes_away(self, event: QEvent) -> bool:
        # The first comes only to what was shown once.
        if event.type() == QEvent.Type.ParentAboutToChange:
            return self._panel.parentWidget() is not None
        return event.type() == QEvent.Type.ParentChange and self._panel.parentWidget() is None

    def _leave(self) -> None:
        act, self._act = self._act, None
        if act is not None:
            act()


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
    ended
        Called when the panel or the window goes.
    """

    def __init__(
        self,
        panel: QWidget,
        session: Session,
        opened: Callable[[Case | None], None],
        ended: Callable[[], object] = lambda: None,
    ) -> None:
        self._session = session
        self._opened, self._ended = opened, ended
        self.links, self.case_links = Links(), Links()
        self._leaving = Leaving(panel, session, self._end)

    def begin(self) -> None:
        """Follow from now on."""
        self.links.connect(self._session.case_changed, self._change)
        self._change()

    def _change(self) -> None:
        self.case_links.release()
        self._opened(self._session.case)

    def _end(self) -> None:
        self._ended()
        self.links.release()
        self.case_links.release()
