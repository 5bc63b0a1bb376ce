"""The Views panel: the open scan from the front and from the side, linked to the main view."""

# PyQt's stubs call every getter optional.
# mypy: disable-error-code="union-attr, override"

from napari.qt import QtViewer
from napari.viewer import Viewer
from qtpy.QtCore import Qt, QTimer
from qtpy.QtGui import QResizeEvent, QShowEvent
from qtpy.QtWidgets import QDockWidget, QMainWindow, QSplitter, QVBoxLayout, QWidget

from napari_uld.viewer.layers.planes import PlaneView
from napari_uld.viewer.panels.window import workbench_in_window
from napari_uld.viewer.state.links import Links
from napari_uld.viewer.tools.linked import LinkedViews

# Share of the window's height, and pixels below which nothing can be read.
HEIGHT, LEAST = 0.42, 120


class ViewsPanel(QWidget):
    """Coronal and sagittal views with the cross-hair that links them to the main view.

    Parameters
    ----------
    viewer
        The viewer whose open scan they show.
    """

    def __init__(self, viewer: Viewer) -> None:
        super().__init__()
        session = workbench_in_window(viewer).session
        self.linked = linked = LinkedViews(session)
        self.splitter = QSplitter(Qt.Orientation.Horizontal)
        for view in linked.views:
            self.splitter.addWidget(_canvas(view))
        self.splitter.setSizes([1, 1])
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.splitter)
        self.setMinimumSize(2 * LEAST, LEAST)
        self._placed = False
        links = Links()

        def end() -> None:
            links.release()
            linked.release()

        # A panel that is closed on its own is deleted on its own, and with its window otherwise.
        links.connect(session.closed, end)
        self.destroyed.connect(end)

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802
        """Put the views side by side where that leaves them more room, else one over the other."""
        wide = event.size().width() >= event.size().height()
        self.splitter.setOrientation(Qt.Orientation.Horizontal if wide else Qt.Orientation.Vertical)
        super().resizeEvent(event)

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802
        """Go below the main view: napari puts panels at the right, where slices find no room."""
        super().showEvent(event)
        if not self._placed:
            self._placed = True
            QTimer.singleShot(0, self._place)

    def _place(self) -> None:
        dock = self.parentWidget()
        while dock is not None and not isinstance(dock, QDockWidget):
            dock = dock.parentWidget()
        window = None if dock is None else dock.parentWidget()
        if dock is not None and isinstance(window, QMainWindow) and not dock.isFloating():
            window.addDockWidget(Qt.DockWidgetArea.BottomDockWidgetArea, dock)
            window.resizeDocks([dock], [round(HEIGHT * window.height())], Qt.Orientation.Vertical)


def _canvas(view: PlaneView) -> QtViewer:
    """Give a view's canvas; keys go where they went before, and files are dropped on the main view."""
    canvas = QtViewer(view.model)
    canvas.dims.hide()
    canvas.setAcceptDrops(False)
    canvas.setMinimumSize(LEAST, LEAST)
    canvas.canvas.native.setFocusPolicy(Qt.FocusPolicy.NoFocus)
    return canvas
