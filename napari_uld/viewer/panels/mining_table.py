"""The scans of a queue as a Qt model: how much waits in each."""

# PyQt's stubs call every getter optional.
# mypy: disable-error-code="override"

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from qtpy.QtCore import QAbstractTableModel, QModelIndex, Qt
from qtpy.QtGui import QFont, QPaintEvent
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTableView

from napari_uld.viewer.panels.empty import write_if_empty
from napari_uld.viewer.state.queue import Fate

COLUMNS = ("Scan", "Waiting", "Decided")
_Role = Qt.ItemDataRole


class QueueScans(QAbstractTableModel):
    """The scans that something is suggested in."""

    def __init__(self) -> None:
        super().__init__()
        self.places: list[int] = []
        self._names: Sequence[str] = ()
        self._fates: Mapping[int, Counter[Fate]] = {}
        self._at_hand: int | None = None

    def show(self, names: Sequence[str], fates: Mapping[int, Counter[Fate]], at_hand: int | None) -> None:
        """Show these scans, by their places among `names`; the one of the suggestion at hand stands out."""
        changed = list(fates) != self.places or names is not self._names
        if changed:
            self.beginResetModel()
        self.places, self._names, self._fates, self._at_hand = list(fates), names, fates, at_hand
        if changed:
            self.endResetModel()
        elif self.places:
            self.dataChanged.emit(self.index(0, 0), self.index(len(self.places) - 1, len(COLUMNS) - 1))

    def rowCount(self, parent: QModelIndex | None = None) -> int:  # noqa: N802
        """Count the scans."""
        return 0 if parent is not None and parent.isValid() else len(self.places)

    def columnCount(self, parent: QModelIndex | None = None) -> int:  # noqa: N802
        """Count the columns."""
        return 0 if parent is not None and parent.isValid() else len(COLUMNS)

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = _Role.DisplayRole) -> Any:  # noqa: N802
        """Give a column's name."""
        if role == _Role.DisplayRole and orientation == Qt.Orientation.Horizontal:
            return COLUMNS[section]
        return None

    def data(self, index: QModelIndex, role: int = _Role.DisplayRole) -> Any:
        """Give what stands in a cell."""
        at = self.places[index.row()]
        if role == _Role.DisplayRole:
            return self._cells(at)[index.column()]
        if role == _Role.ToolTipRole:
            return f"{self._names[at]}\nDouble-click to go on there"
        if role == _Role.FontRole and at == self._at_hand:
            font = QFont()
            font.setBold(True)
            return font
        return None

    def _cells(self, at: int) -> tuple[str, str, str]:
        fates = self._fates[at]
        waiting = str(fates[Fate.PENDING]) + (f", {fates[Fate.SKIPPED]} skipped" if fates[Fate.SKIPPED] else "")
        decided = fates[Fate.ACCEPTED] + fates[Fate.REJECTED]
        return self._names[at], waiting, f"{decided} of {sum(fates.values())}"


class QueueTable(QTableView):
    """The list, which says why there is nothing where there is nothing."""

    def __init__(self, model: QueueScans) -> None:
        super().__init__()
        self.empty = ""
        self.setModel(model)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setShowGrid(False)
        self.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self.verticalHeader().hide()  # type: ignore[union-attr]
        header = self.horizontalHeader()
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)  # type: ignore[union-attr]
        for column in (1, 2):
            header.setSectionResizeMode(column, QHeaderView.ResizeMode.ResizeToContents)  # type: ignore[union-attr]
        self.setMinimumHeight(120)

    def say_empty(self, text: str) -> None:
        """Write this where no scan is listed."""
        self.empty = text
        self.viewport().update()  # type: ignore[union-attr]

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802
        """Say why there is nothing where there is nothing."""
        super().paintEvent(event)
        write_if_empty(self, self.empty)
