"""The list of what can be compared: the annotation, detectors that ran on the scan, checkpoints that did not yet."""

# PyQt's stubs call every getter optional; these are there as long as the widget is.
# mypy: disable-error-code="union-attr"

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from qtpy.QtCore import QSignalBlocker, Qt, Signal
from qtpy.QtGui import QColor, QIcon, QPixmap
from qtpy.QtWidgets import QListWidget, QListWidgetItem

# Rows that there is room for, and pixels of a colour's square.
ROWS, SQUARE = 7, 10
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
        self._checked: list[str] = []
        self.itemChanged.connect(self._take)
        self.setMinimumHeight(ROWS * max(self.fontMetrics().height() + 4, SQUARE))
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setTextElideMode(Qt.TextElideMode.ElideMiddle)

    @property
    def checked(self) -> list[str]:
        """Keys of what is checked, also of what is not offered on this scan, in the order in which that was done."""
        return list(self._checked)

    def check(self, key: str, on: bool = True) -> None:  # noqa: FBT001, FBT002
        """Check a choice, or no longer."""
        if on != (key in self._checked):
            self._checked = [*self._checked, key] if on else [other for other in self._checked if other != key]
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
                item.setIcon(_square(colours.get(choice.key)))
                item.setFlags(FLAGS)
            self._show_checks()
        self.viewport().update()

    def _show_checks(self) -> None:
        with QSignalBlocker(self):
            for i in range(self.count()):
                checked = self.item(i).data(_Role.UserRole) in self._checked
                self.item(i).setCheckState(Qt.CheckState.Checked if checked else Qt.CheckState.Unchecked)

    def _take(self, item: QListWidgetItem) -> None:
        self.check(item.data(_Role.UserRole), item.checkState() == Qt.CheckState.Checked)


def _square(colour: str | None) -> QIcon:
    picture = QPixmap(SQUARE, SQUARE)
    picture.fill(QColor(colour or "transparent"))
    return QIcon(picture)
