"""The list of what can be compared: the annotation, detectors that ran on the scan, checkpoints that did not yet."""

# PyQt's stubs call every getter optional; these are there as long as the widget is.
# mypy: disable-error-code="union-attr, override"

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from qtpy.QtCore import QSignalBlocker, QSize, Qt, Signal
from qtpy.QtGui import QColor, QIcon, QPainter, QPixmap
from qtpy.QtWidgets import QListWidget, QListWidgetItem, QSizePolicy

# Rows that are seen without scrolling, and pixels of a colour's square.
ROWS, SQUARE = 10, 10
# About a square: white is seen in a light window too.
EDGE = "#808080"
FLAGS = Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsUserCheckable | Qt.ItemFlag.ItemIsSelectable
_Role = Qt.ItemDataRole


@dataclass(frozen=True)
class Choice:
    """Something to compare.

    Parameters
    ----------
    key
        What it is chosen by, whether it ran or not: a checkpoint's name, a detector's, or the annotation's.
    title
        What a person calls it.
    note
        How it stands on the open scan.
    tip
        More about it.
    method
        The method whose marks are there to be compared; "" where it has to run first.
    """

    key: str
    title: str
    note: str = ""
    tip: str = ""
    method: str = ""


class MethodList(QListWidget):
    """Methods with a box to check each; those that are compared have their colour."""

    # A person checked one or no longer wants it.
    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._checked: set[str] = set()
        self.itemChanged.connect(self._take)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Maximum)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setTextElideMode(Qt.TextElideMode.ElideMiddle)

    @property
    def checked(self) -> frozenset[str]:
        """Keys of what is checked, also of what is not offered on this scan."""
        return frozenset(self._checked)

    def check(self, key: str, on: bool = True) -> None:  # noqa: FBT001, FBT002
        """Check a choice, or no longer."""
        if on != (key in self._checked):
            self._checked ^= {key}
            self._show_checks()
            self.changed.emit()

    def offer(self, choices: Sequence[Choice], colours: Mapping[str, str]) -> None:
        """Offer these; those that are compared have their colours, by key."""
        with QSignalBlocker(self):
            while self.count() > len(choices):
                self.takeItem(self.count() - 1)
            while self.count() < len(choices):
                self.addItem(QListWidgetItem())
            for i, choice in enumerate(choices):
                item = self.item(i)
                item.setText(f"{choice.title}  ·  {choice.note}" if choice.note else choice.title)
                item.setToolTip(choice.tip)
                item.setData(_Role.UserRole, choice.key)
                item.setIcon(square(colours.get(choice.key)))
                item.setFlags(FLAGS)
            self._show_checks()
        self.updateGeometry()
        self.viewport().update()

    def sizeHint(self) -> QSize:  # noqa: N802
        """As high as the list is."""
        rows = min(max(self.count(), 2), ROWS)
        return QSize(super().sizeHint().width(), rows * self.sizeHintForRow(0) + 2 * self.frameWidth())

    def _show_checks(self) -> None:
        with QSignalBlocker(self):
            for i in range(self.count()):
                checked = self.item(i).data(_Role.UserRole) in self._checked
                self.item(i).setCheckState(Qt.CheckState.Checked if checked else Qt.CheckState.Unchecked)

    def _take(self, item: QListWidgetItem) -> None:
        self.check(item.data(_Role.UserRole), item.checkState() == Qt.CheckState.Checked)


def square(colour: str | None) -> QIcon:
    """Give a square of a colour to stand before a name; None for as much room."""
    picture = QPixmap(SQUARE, SQUARE)
    picture.fill(QColor(EDGE if colour else "transparent"))
    if colour:
        painter = QPainter(picture)
        painter.fillRect(1, 1, SQUARE - 2, SQUARE - 2, QColor(colour))
        painter.end()
    return QIcon(picture)
