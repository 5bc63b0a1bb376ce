"""A panel that scrolls: whatever is docked beside it, the window is never taller than the screen."""

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFrame, QScrollArea, QWidget


class ScrolledPanel(QScrollArea):
    """Holds a `body`, which panels lay their widgets out in; it is scrolled up and down where there is little room."""

    def __init__(self) -> None:
        super().__init__()
        self.body = QWidget()
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAsNeeded)
        self.setWidget(self.body)
