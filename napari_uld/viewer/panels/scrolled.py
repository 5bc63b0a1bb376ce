"""A panel that scrolls: whatever is docked beside it, the window is never taller than the screen."""

# PyQt's stubs call every getter optional.
# mypy: disable-error-code="union-attr, override"

from qtpy.QtCore import QEvent, QObject, QSize, Qt, QTimer
from qtpy.QtGui import QShowEvent
from qtpy.QtWidgets import QFrame, QScrollArea, QWidget

from napari_uld.viewer.panels.docking import take_place


class ScrolledPanel(QScrollArea):
    """Holds a `body`, which panels lay their widgets out in.

    It is scrolled up and down where there is little room, and is never narrower than what is in it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.body = QWidget()
        self.body.installEventFilter(self)
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAsNeeded)
        self.setWidget(self.body)
        self._placed = False

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802
        """Take its place among the others once napari has docked it."""
        super().showEvent(event)
        if not self._placed:
            self._placed = True
            QTimer.singleShot(0, self._take_place)

    def _take_place(self) -> None:
        take_place(self)

    def minimumSizeHint(self) -> QSize:  # noqa: N802
        """Room for the body's whole width beside the scroll bar."""
        width = self.body.minimumSizeHint().width() + self.verticalScrollBar().sizeHint().width()
        return QSize(width, super().minimumSizeHint().height())

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802
        """Ask for another width where the body does."""
        if watched is self.body and event.type() == QEvent.Type.LayoutRequest:
            self.updateGeometry()
        return super().eventFilter(watched, event)
