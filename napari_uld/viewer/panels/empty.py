"""What is said where there is nothing yet: in a list without rows, and to a person who is here for the first time."""

# PyQt's stubs call every getter optional; these are there as long as the widget is.
# mypy: disable-error-code="union-attr"

from qtpy.QtCore import Qt
from qtpy.QtGui import QPainter, QPalette
from qtpy.QtWidgets import QAbstractItemView, QFrame, QHBoxLayout, QLabel, QPushButton

from napari_uld.viewer.state.settings import hint_is_seen, settings
from napari_uld.viewer.tools.keys import key_of

NO_SCAN = "Open a CT scan first: drop its file or folder on the window."
# Pixels about what is written in an empty list.
MARGIN = 16


def write_if_empty(view: QAbstractItemView, text: str) -> None:
    """Write a text into a list or table that has no rows, once it has painted itself."""
    if not text or view.model() is None or view.model().rowCount():
        return
    painter = QPainter(view.viewport())
    painter.setPen(view.palette().color(QPalette.ColorRole.Text))
    room = view.viewport().rect().adjusted(MARGIN, MARGIN, -MARGIN, -MARGIN)
    painter.drawText(room, int(Qt.AlignmentFlag.AlignCenter | Qt.TextFlag.TextWordWrap), text)
    painter.end()


class Hint(QFrame):
    """What a person begins with, until it is put away; it is said once, unless the preferences ask for it again."""

    def __init__(self) -> None:
        super().__init__()
        self.setFrameShape(QFrame.Shape.StyledPanel)
        text = QLabel(_first_steps())
        text.setWordWrap(True)
        self.done = QPushButton("Got it")
        self.done.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.done.clicked.connect(self.hide)
        layout = QHBoxLayout(self)
        layout.addWidget(text, stretch=1)
        layout.addWidget(self.done, alignment=Qt.AlignmentFlag.AlignTop)
        if settings().hint:
            hint_is_seen()
        else:
            self.hide()


def _first_steps() -> str:
    keys = {title: f"<b>{key_of(title)}</b>" for title in ("next undecided", "accept", "reject", "measure", "undo")}
    return (
        "<b>New here?</b> The wheel turns slices, a drag with the right button sets the window. <i>Detect</i> looks "
        f"for lesions; then {keys['next undecided']} goes to the next one, {keys['accept']} accepts, {keys['reject']} "
        f"rejects, {keys['measure']} measures, {keys['undo']} takes back. Decisions are saved by themselves. "
        "<i>Layers &gt; Annotate &gt; Open all panels</i> has the rest."
    )
