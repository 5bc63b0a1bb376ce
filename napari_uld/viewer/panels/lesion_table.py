"""The table of lesions as a Qt model, one row a lesion, sortable by what is behind the text."""

from typing import Any

from qtpy.QtCore import QAbstractTableModel, QModelIndex, Qt
from qtpy.QtGui import QColor

from napari_uld.lesions.annotations import LesionType
from napari_uld.viewer.layers.marks import COLOURS
from napari_uld.viewer.state.rows import Mark, Row

HEADERS = ("Slice", "State", "Score", "Type", "mm", "Source")
TIPS = (
    "Number of the key slice in the scan's own files",
    "What was decided",
    "How sure the detector is",
    "DeepLesion's coarse type",
    "Long diameter: measured, or (≈) from the box",
    "Who marked it first",
)
_RIGHT = (0, 2, 4)
# Annotation files say "mined"; here it is plain who did it.
_SOURCES = {"mined": "detector"}


class LesionTable(QAbstractTableModel):
    """Rows of a case for a Qt table; `Qt.UserRole` gives the values to sort by."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: tuple[Row, ...] = ()

    def show(self, rows: tuple[Row, ...]) -> None:
        """Show these rows; the table keeps its selection where the lesions are the same."""
        same_lesions = [row.key for row in rows] == [row.key for row in self.rows]
        if not same_lesions:
            self.beginResetModel()
        self.rows = rows
        if not same_lesions:
            self.endResetModel()
        elif rows:
            self.dataChanged.emit(self.index(0, 0), self.index(len(rows) - 1, len(HEADERS) - 1))

    def rowCount(self, parent: QModelIndex | None = None) -> int:  # noqa: N802
        """Count the lesions."""
        return 0 if parent is not None and parent.isValid() else len(self.rows)

    def columnCount(self, parent: QModelIndex | None = None) -> int:  # noqa: N802
        """Count the columns."""
        return 0 if parent is not None and parent.isValid() else len(HEADERS)

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole) -> Any:  # noqa: N802
        """Give the columns' titles."""
        if orientation == Qt.Orientation.Horizontal and role == Qt.ItemDataRole.DisplayRole:
            return HEADERS[section]
        if orientation == Qt.Orientation.Horizontal and role == Qt.ItemDataRole.ToolTipRole:
            return TIPS[section]
        return None

    def data(self, index: QModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """Give a cell's text, sorting value, colour or alignment."""
        row, column = self.rows[index.row()], index.column()
        if role == Qt.ItemDataRole.DisplayRole:
            return cells(row)[column]
        if role == Qt.ItemDataRole.UserRole:
            return _sort_values(row)[column]
        if role == Qt.ItemDataRole.DecorationRole and column == 1:
            return QColor(COLOURS[row.mark])
        if role == Qt.ItemDataRole.ForegroundRole and row.mark is Mark.REJECTED:
            return QColor("#909090")
        if role == Qt.ItemDataRole.TextAlignmentRole:
            side = Qt.AlignmentFlag.AlignRight if column in _RIGHT else Qt.AlignmentFlag.AlignLeft
            return side | Qt.AlignmentFlag.AlignVCenter
        return None


def cells(row: Row) -> tuple[str, ...]:
    """Give a lesion's texts, column by column."""
    return (
        str(row.native),
        row.mark.value,
        "" if row.score is None else f"{row.score:.2f}",
        "" if row.lesion_type is LesionType.UNKNOWN else row.lesion_type.name.lower().replace("_", " "),
        f"{'' if row.recist else '≈ '}{row.diameter:.0f}",
        _SOURCES.get(row.source, row.source),
    )


def _sort_values(row: Row) -> tuple[Any, ...]:
    score = -1.0 if row.score is None else row.score
    return row.native, row.mark.value, score, row.lesion_type.name, row.diameter, row.source
