"""The table of lesions as a Qt model, one row a lesion, sortable by what is behind the text."""

from collections.abc import Sequence
from typing import Any

from qtpy.QtCore import QAbstractTableModel, QModelIndex, Qt, Signal
from qtpy.QtGui import QColor

from napari_uld.lesions.annotations import LesionType, Source
from napari_uld.viewer.layers.marks import COLOURS
from napari_uld.viewer.state.rows import Mark, Row

HEADERS = ("Slice", "State", "Score", "Type", "Noisy", "mm", "Source", "Comment")
TIPS = (
    "Number of the key slice in the scan's own files",
    "What was decided",
    "How sure the detector is",
    "DeepLesion's coarse type; a type, a comment or noisy accepts what waits for a decision",
    "Noisy, doubtful: training may leave it out",
    "Long diameter: measured, or (≈) from the box",
    "Who marked it first, +1 where a detector found it too: point at it to see which",
    "A line of your own",
)
_RIGHT = tuple(HEADERS.index(header) for header in ("Slice", "Score", "mm"))
_STATE, _TYPE, _NOISY, _SOURCE, _COMMENT = (
    HEADERS.index(header) for header in ("State", "Type", "Noisy", "Source", "Comment")
)
_Role = Qt.ItemDataRole


class LesionTable(QAbstractTableModel):
    """Rows of a case for a Qt table; `Qt.UserRole` gives the values to sort by."""

    # A person changed a cell of a row: its type, noisy or its comment.
    typed = Signal(object, object)
    called_noisy = Signal(object, bool)
    commented = Signal(object, str)

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
            # There is room for a check box alone.
            return "?" if section == _NOISY else HEADERS[section]
        if orientation == Qt.Orientation.Horizontal and role == Qt.ItemDataRole.ToolTipRole:
            return TIPS[section]
        return None

    def flags(self, index: QModelIndex) -> Qt.ItemFlag:
        """Say which cells a person may change in their place."""
        flags = super().flags(index)
        if index.column() in (_TYPE, _COMMENT):
            flags |= Qt.ItemFlag.ItemIsEditable
        return flags | Qt.ItemFlag.ItemIsUserCheckable if index.column() == _NOISY else flags

    def data(self, index: QModelIndex, role: int = _Role.DisplayRole) -> Any:
        """Give a cell's text, sorting value, colour, check mark or alignment."""
        row, column = self.rows[index.row()], index.column()
        if role == _Role.DisplayRole:
            return "" if column == _NOISY else cells(row)[column]
        if role == _Role.UserRole:
            return _sort_values(row)[column]
        if role == _Role.EditRole:
            return int(row.lesion_type) if column == _TYPE else cells(row)[column]
        if role == _Role.CheckStateRole and column == _NOISY:
            return Qt.CheckState.Checked if row.noisy else Qt.CheckState.Unchecked
        if role == _Role.ToolTipRole:
            return row.comment if column == _COMMENT else found_by(row)
        if role == _Role.DecorationRole and column == _STATE:
            return QColor(COLOURS[row.mark])
        if role == _Role.ForegroundRole and row.mark is Mark.REJECTED:
            return QColor("#909090")
        if role == _Role.TextAlignmentRole:
            side = Qt.AlignmentFlag.AlignRight if column in _RIGHT else Qt.AlignmentFlag.AlignLeft
            return side | Qt.AlignmentFlag.AlignVCenter
        return None

    def setData(self, index: QModelIndex, value: Any, role: int = _Role.EditRole) -> bool:  # noqa: N802
        """Pass on what a person made of a cell; the case, once it is changed, brings it back."""
        row, column = self.rows[index.row()], index.column()
        if role == _Role.CheckStateRole and column == _NOISY:
            self.called_noisy.emit(row, Qt.CheckState(value) == Qt.CheckState.Checked)
        elif role == _Role.EditRole and column == _TYPE:
            self.typed.emit(row, LesionType(value))
        elif role == _Role.EditRole and column == _COMMENT:
            self.commented.emit(row, str(value))
        else:
            return False
        return True


def cells(row: Row) -> tuple[str, ...]:
    """Give a lesion's texts, column by column."""
    return (
        str(row.native),
        row.mark.value,
        "" if row.score is None else f"{row.score:.2f}",
        name_of(row.lesion_type),
        "noisy" if row.noisy else "",
        f"{'' if row.recist else '≈ '}{row.diameter:.0f}",
        _source(row),
        row.comment,
    )


def text_of(rows: Sequence[Row]) -> str:
    """Give rows as text, a line each under the columns' titles, with tabs between the cells."""
    return "\n".join("\t".join(line) for line in (HEADERS, *map(cells, rows)))


def name_of(lesion_type: LesionType) -> str:
    """Name a kind of lesion; "" where nobody said."""
    return "" if lesion_type is LesionType.UNKNOWN else lesion_type.name.lower().replace("_", " ")


def found_by(row: Row) -> str:
    """Say in a sentence who marked a lesion and which detectors found it too."""
    people = row.source == Source.EXPERT
    scores = {ref.detector: ref.score for ref in row.also}
    if row.score is not None and not people:
        scores = {row.detectors[0] if row.detectors else "": row.score} | scores
    names = [
        f"{name} ({scores[detector]:.2f})" if detector in scores else name
        for name, detector in zip(row.found_by, row.detectors, strict=True)
    ]
    first = "Marked by a person" if people else f"Found by {names.pop(0) if names else 'a detector'}"
    corrected = ", corrected by a person" if row.source == Source.EDITED else ""
    return f"{first}{corrected}" + (f"; also found by {' and '.join(names)}" if names else "")


def _source(row: Row) -> str:
    """Name who marked a lesion first, and say how many others found it: there is room for one name."""
    names = ["expert"] if row.source == Source.EXPERT else []
    first, *others = [*names, *row.found_by] or ["detector"]
    edited = " (edited)" if row.source == Source.EDITED else ""
    return f"{first}{edited}" + (f" +{len(others)}" if others else "")


def _sort_values(row: Row) -> tuple[Any, ...]:
    score = -1.0 if row.score is None else row.score
    kind = name_of(row.lesion_type)
    return row.native, row.mark.value, score, kind, row.noisy, row.diameter, _source(row), row.comment
