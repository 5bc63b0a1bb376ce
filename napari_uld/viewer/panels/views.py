"""The Views panel: the open scan from the front and from the side, linked to the main view."""

# PyQt's stubs call every getter optional.
# mypy: disable-error-code="union-attr, override"

from napari.qt import QtViewer
from napari.settings import get_settings
from napari.viewer import Viewer
from qtpy.QtCore import QSize, Qt
from qtpy.QtGui import QResizeEvent, QShowEvent
from qtpy.QtWidgets import QMainWindow, QSplitter, QVBoxLayout, QWidget

from napari_uld.viewer.layers.planes import PlaneView
from napari_uld.viewer.panels.following import Leaving
from napari_uld.viewer.panels.window import main_window, workbench_in_window
from napari_uld.viewer.session import Session
from napari_uld.viewer.state.links import Links
from napari_uld.viewer.tools.linked import LinkedViews

# Pixels below which nothing can be read, and those that a view likes to have.
LEAST, WANTED = 120, 400
# napari's name of the panel's dock, and where it goes where a person has not put it elsewhere: on the right, where
# panels go, slices find no room.
DOCK, PLACE = "Views (napari-uld)", "bottom"


class Canvases(QSplitter):
    """The views' canvases, made once for a window; while no panel holds them they are hidden in it.

    What a canvas drew with stays in memory when it is closed: new ones for every panel would fill it.

    Parameters
    ----------
    session
        The session whose open scan they show.
    """

    def __init__(self, session: Session) -> None:
        super().__init__(Qt.Orientation.Horizontal)
        self.linked = LinkedViews(session)
        for view in self.linked.views:
            self.addWidget(_canvas(view))
        self._links = Links()
        self._links.connect(session.closed, self._end)

    def put_away(self, window: QWidget | None) -> None:
        """Show nothing more, and wait in the window; where there is none, for nobody."""
        self.linked.release()
        if window is None:
            self._end()
        else:
            self.hide()
            self.setParent(window)

    def _end(self) -> None:
        self._links.release()
        self.linked.release()
        for i in range(self.count()):
            self.widget(i).close()


class ViewsPanel(QWidget):
    """Coronal and sagittal views with the cross-hair that links them to the main view.

    Parameters
    ----------
    viewer
        The viewer whose open scan they show.
    """

    def __init__(self, viewer: Viewer) -> None:
        super().__init__()
        get_settings().application.plugin_widget_positions.setdefault(DOCK, PLACE)
        session = workbench_in_window(viewer).session
        self._window = main_window(session.viewer)
        self.splitter = self._take_canvases(session)
        self.linked = self.splitter.linked
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.splitter)
        self.splitter.show()
        self.setMinimumSize(2 * LEAST, LEAST)
        self._leaving = Leaving(self, session, self._leave)

    def sizeHint(self) -> QSize:  # noqa: N802
        """Room for both views, side by side."""
        return QSize(2 * WANTED, WANTED)

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802
        """Put the views side by side where that leaves them more room, else one over the other."""
        wide = event.size().width() >= event.size().height()
        self.splitter.setOrientation(Qt.Orientation.Horizontal if wide else Qt.Orientation.Vertical)
        super().resizeEvent(event)

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802
        """Leave the other panels their whole height: the views belong below the main one alone."""
        window = self.window()
        if isinstance(window, QMainWindow):
            window.setCorner(Qt.Corner.BottomLeftCorner, Qt.DockWidgetArea.LeftDockWidgetArea)
            window.setCorner(Qt.Corner.BottomRightCorner, Qt.DockWidgetArea.RightDockWidgetArea)
        super().showEvent(event)

    def _take_canvases(self, session: Session) -> Canvases:
        """Give the window's canvases; where another panel holds them, or there are none yet, new ones."""
        away = Qt.FindChildOption.FindDirectChildrenOnly
        kept = None if self._window is None else self._window.findChild(Canvases, options=away)
        if kept is None:
            return Canvases(session)
        kept.linked.follow()
        return kept

    def _leave(self) -> None:
        self.splitter.put_away(self._window)


def _canvas(view: PlaneView) -> QtViewer:
    """Give a view's canvas; keys go where they went before, and files are dropped on the main view."""
    canvas = QtViewer(view.model)
    canvas.dims.hide()
    canvas.setAcceptDrops(False)
    canvas.setMinimumSize(LEAST, LEAST)
    canvas.canvas.native.setFocusPolicy(Qt.FocusPolicy.NoFocus)
    return canvas
