"""Buttons that measure distances and regions, and the line that what was measured is copied from."""

# PyQt's stubs call every getter optional; these are there as long as the widget is.
# mypy: disable-error-code="union-attr"

from functools import partial

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QLineEdit, QPushButton, QWidget

from napari_uld.viewer.tools.ruler import Ruler
from napari_uld.viewer.tools.tool import ToolName

TIPS = {
    ToolName.DISTANCE: "Distance in mm between two clicks, or of a drag",
    ToolName.ELLIPSE: "Mean, SD, lowest and highest HU and area of an ellipse that you drag",
    ToolName.RECTANGLE: "Mean, SD, lowest and highest HU and area of a rectangle that you drag",
}
PUT_DOWN = "Esc, or the button again, puts it down; what was measured vanishes, it is no lesion."


class Rulers:
    """The buttons and the line of a ruler; whoever lays them out calls `show` when the ruler changed.

    Parameters
    ----------
    ruler
        What measures.
    parent
        The panel they are in.
    """

    def __init__(self, ruler: Ruler, parent: QWidget) -> None:
        self._ruler = ruler
        self.buttons = tuple(self._button(kind, parent) for kind in TIPS)
        self.line = QLineEdit(parent)
        self.line.setReadOnly(True)
        self.line.setToolTip("What was measured last: choose and copy it")
        self.show()

    def show(self) -> None:
        """Show what the ruler measures, and what it measured last."""
        on, kind = self._ruler.on, self._ruler.kind
        for button, own in zip(self.buttons, TIPS, strict=True):
            button.setChecked(on and own is kind)
        self.line.setVisible(on)
        self.line.setText(self._ruler.text)
        self.line.setPlaceholderText("Click both ends" if kind is ToolName.DISTANCE else "Drag over the region")
        # Where the line is too short, its beginning is what matters.
        self.line.setCursorPosition(0)

    def _button(self, kind: ToolName, parent: QWidget) -> QPushButton:
        button = QPushButton(kind.value.capitalize(), parent)
        button.setCheckable(True)
        button.setToolTip(f"{TIPS[kind]}. {PUT_DOWN}")
        button.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        button.clicked.connect(partial(self._press, kind))
        return button

    def _press(self, kind: ToolName) -> None:
        if self._ruler.on and self._ruler.kind is kind:
            self._ruler.stop()
        else:
            self._ruler.start(kind)
        self.show()
