"""The table of a comparison: a lesion of the reference a row, a method a column, who found it with which score."""

# PyQt's stubs call every getter optional; these are there as long as the widget is.
# mypy: disable-error-code="union-attr, override"

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from qtpy.QtCore import QAbstractTableModel, QItemSelection, QModelIndex, Qt, Signal
from qtpy.QtGui import QColor, QPaintEvent
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTableView

from napari_uld.evaluation.one_scan import Point
from napari_uld.viewer.layers.compared import MISSED, said
from napari_uld.viewer.panels.empty import write_if_empty
from napari_uld.viewer.panels.method_list import square
from napari_uld.viewer.state.compared import Compared

# Columns before those of the methods.
HEADERS = ("Slice", "mm")
TIPS = ("Number of the key slice in the scan's own files", "Long diameter in mm: measured, or (≈) from the box")
FADED = "#909090"
# Pixels, and how many rows there is room for however low the window is.
ROW_HEIGHT, LEAST_WIDTH, LEAST_ROWS = 24, 40, 5
_Role = Qt.ItemDataRole


@dataclass(frozen=True)
class Column:
    """How a method is shown: what it is called, and its colour."""

    title: str
    colour: str


class ComparisonTable(QAbstractTableModel):
    """The lesions of a comparison for a Qt table."""

    def __init__(self) -> None:
        super().__init__()
        self.compared: Compared | None = None
        self.columns: tuple[Column, ...] = ()
        self._points: Sequence[Point] = ()

    def show(self, compared: Compared | None, columns: Sequence[Column], points: Sequence[Point]) -> None:
        """Show a comparison with each method at its point; None shows nothing."""
        same = compared is self.compared and tuple(columns) == self.columns
        if not same:
            self.beginResetModel()
        self.compared, self.columns, self._points = compared, tuple(columns), points
        if not same:
            self.endResetModel()
        elif self.rowCount():
            self.dataChanged.emit(self.index(0, 0), self.index(self.rowCount() - 1, self.columnCount() - 1))

    def rowCount(self, parent: QModelIndex | None = None) -> int:  # noqa: N802
        """Count the reference's lesions."""
        inside = parent is not None and parent.isValid()
        return 0 if inside or self.compared is None else len(self.compared.lesions)

    def columnCount(self, parent: QModelIndex | None = None) -> int:  # noqa: N802
        """Count the columns."""
        return 0 if parent is not None and parent.isValid() else len(HEADERS) + len(self.columns)

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole) -> Any:  # noqa: N802
        """Give the columns' titles, those of methods in their colours."""
        if orientation != Qt.Orientation.Horizontal:
            return None
        own = section < len(HEADERS)
        column = None if own else self.columns[section - len(HEADERS)]
        if role == _Role.DisplayRole:
            return HEADERS[section] if column is None else column.title
        if role == _Role.ToolTipRole:
            return TIPS[section] if column is None else f"{column.title}: the score that it found it with"
        if role == _Role.DecorationRole and column is not None:
            return square(column.colour)
        return None

    def data(self, index: QModelIndex, role: int = _Role.DisplayRole) -> Any:
        """Give a cell's text, what is said of it, and how it looks."""
        if self.compared is None:
            return None
        lesion, column = index.row(), index.column() - len(HEADERS)
        if role == _Role.TextAlignmentRole:
            side = Qt.AlignmentFlag.AlignRight if column < 0 else Qt.AlignmentFlag.AlignHCenter
            return side | Qt.AlignmentFlag.AlignVCenter
        if column < 0:
            marked = self.compared.lesions[lesion]
            texts = (str(marked.native), f"{'' if marked.measured else '≈ '}{marked.diameter:.0f}")
            return texts[index.column()] if role == _Role.DisplayRole else None
        found = said(self.compared.methods[column], self._points[column], lesion)
        if role == _Role.DisplayRole:
            return found or MISSED
        if role == _Role.ForegroundRole and not found:
            return QColor(FADED)
        if role == _Role.ToolTipRole:
            score = self.compared.methods[column].on_scan.lesion_scores[lesion]
            return f"{self.columns[column].title} {'found it' if found else _why_missed(score)}"
        return None


def _why_missed(score: float) -> str:
    """Say whether a method marked a lesion below the score that counts, or not at all."""
    if score == -np.inf:
        return "marked nothing there"
    return f"marked it with {score:.2f}: that counts once more false positives are allowed"


class ComparisonView(QTableView):
    """Shows a `ComparisonTable`; the arrow keys go from lesion to lesion."""

    # A person chose a row.
    chosen = Signal(int)

    def __init__(self, model: ComparisonTable) -> None:
        super().__init__()
        # What is written where there are no rows.
        self.empty = ""
        self._marking = False
        self.setModel(model)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setTabKeyNavigation(False)
        self.verticalHeader().hide()
        self.verticalHeader().setDefaultSectionSize(ROW_HEIGHT)
        self.horizontalHeader().setMinimumSectionSize(LEAST_WIDTH)
        self.horizontalHeader().setTextElideMode(Qt.TextElideMode.ElideMiddle)
        model.modelReset.connect(self._share)
        self._share()
        self.setMinimumHeight(self.horizontalHeader().sizeHint().height() + LEAST_ROWS * ROW_HEIGHT)
        self.selectionModel().selectionChanged.connect(self._tell)

    def mark(self, row: int) -> None:
        """Show which lesion is at hand (-1: none of them); that is nobody's choice and not told."""
        self._marking = True
        if row < 0:
            self.clearSelection()
        elif row != self.currentIndex().row() or not self.selectionModel().hasSelection():
            self.selectRow(row)
        self._marking = False

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802
        """Say why there is nothing where there is nothing."""
        super().paintEvent(event)
        write_if_empty(self, self.empty)

    def _share(self) -> None:
        """Give the methods the same width each, and scroll nothing sideways."""
        for column in range(self.model().columnCount()):
            own = column < len(HEADERS)
            mode = QHeaderView.ResizeMode.ResizeToContents if own else QHeaderView.ResizeMode.Stretch
            self.horizontalHeader().setSectionResizeMode(column, mode)

    def _tell(self, selected: QItemSelection) -> None:
        rows = [index.row() for index in selected.indexes()]
        if rows and not self._marking:
            self.chosen.emit(rows[0])
