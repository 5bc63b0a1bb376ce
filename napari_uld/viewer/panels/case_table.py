"""The list of scans as a Qt model: a picture and a few lines each, filtered by words and by what is done."""

# PyQt's stubs call every getter optional.
# mypy: disable-error-code="override"

from typing import Any

import numpy as np
from qtpy.QtCore import QAbstractListModel, QModelIndex, QSize, QSortFilterProxyModel, Qt
from qtpy.QtGui import QFont, QIcon, QImage, QPixmap

from napari_uld.viewer.panels.thumbnails import SIZE, Thumbnail
from napari_uld.viewer.state.cases import CaseList, Which

# About a picture, above and below.
MARGIN = 4
_Role = Qt.ItemDataRole


class CaseModel(QAbstractListModel):
    """The scans of a `CaseList`."""

    def __init__(self) -> None:
        super().__init__()
        self.cases: CaseList | None = None
        # Where the open scan stands, or None.
        self.open: int | None = None
        self._places: dict[str, int] = {}
        self._pictures: dict[str, np.ndarray] = {}
        self._problems: dict[str, str] = {}
        self._blank = _icon(np.zeros((0, 0), np.uint8))

    def show(self, cases: CaseList | None) -> None:
        """Show another list, none of its pictures made yet."""
        self.beginResetModel()
        if self.cases is not None:
            self.cases.changed.disconnect(self._changed)
        self.cases, self.open = cases, None
        self._pictures.clear()
        self._problems.clear()
        self._places = {}
        if cases is not None:
            self._places = {scan.key: i for i, scan in enumerate(cases.scans)}
            cases.changed.connect(self._changed)
        self.endResetModel()

    def mark(self, at: int | None) -> None:
        """Mark the open scan."""
        before, self.open = self.open, at
        for place in (before, at):
            if place is not None:
                self._changed(place)

    def take(self, thumbnail: Thumbnail) -> None:
        """Show a picture, or that there is none."""
        if thumbnail.picture is None:
            self._problems[thumbnail.key] = thumbnail.problem
        else:
            self._pictures[thumbnail.key] = thumbnail.picture
        self._changed(self._places[thumbnail.key])

    def _changed(self, at: int) -> None:
        index = self.index(at, 0)
        self.dataChanged.emit(index, index)

    def rowCount(self, parent: QModelIndex | None = None) -> int:  # noqa: N802
        """Count the scans."""
        return 0 if self.cases is None or (parent is not None and parent.isValid()) else len(self.cases.scans)

    def data(self, index: QModelIndex, role: int = _Role.DisplayRole) -> Any:
        """Give a scan's lines, its picture, and its whole place where the pointer rests."""
        if self.cases is None or not 0 <= index.row() < len(self.cases.scans):
            return None
        scan, is_open = self.cases.scans[index.row()], index.row() == self.open
        if role == _Role.DisplayRole:
            return "\n".join(self._lines(index.row()))
        if role == _Role.DecorationRole:
            picture = self._pictures.get(scan.key)
            return self._blank if picture is None else _icon(picture)
        if role == _Role.ToolTipRole:
            problem = self._problems.get(scan.key)
            return f"{scan.entry.path}\n{problem}" if problem else str(scan.entry.path)
        if role == _Role.FontRole and is_open:
            font = QFont()
            font.setBold(True)
            return font
        if role == _Role.SizeHintRole:
            return QSize(SIZE, SIZE + 2 * MARGIN)
        return None

    def _lines(self, at: int) -> list[str]:
        """Say what a scan is, where it lies, and how far it is, a line each."""
        if self.cases is None:
            return []
        scan = self.cases.scans[at]
        marks = [word for word, holds in (("open", at == self.open), ("done", scan.done)) if holds]
        lines = [scan.entry.name, scan.where, scan.entry.note or f"{scan.entry.slices} slices"]
        lines.append("cannot be read" if scan.key in self._problems else scan.said())
        marked = " · ".join(marks)
        return [line for line in (*lines, marked) if line]


class ShownCases(QSortFilterProxyModel):
    """Those scans that are asked for."""

    def __init__(self, model: CaseModel) -> None:
        super().__init__()
        self._model = model
        self._text, self._which = "", Which.ALL
        self.setSourceModel(model)

    def ask_for(self, text: str, which: Which) -> None:
        """Show the scans with these words, of this kind."""
        self._text, self._which = text, which
        self.invalidateFilter()

    @property
    def places(self) -> list[int]:
        """The places in the list of the scans that are shown."""
        return [self.mapToSource(self.index(row, 0)).row() for row in range(self.rowCount())]

    def filterAcceptsRow(self, row: int, parent: QModelIndex) -> bool:  # noqa: N802
        """Tell whether a scan is shown."""
        return self._model.cases is not None and self._model.cases.shows(row, self._text, self._which)


def _icon(picture: np.ndarray) -> QIcon:
    """Put a grey picture in the middle of a black square; it stays grey where it is selected."""
    square = np.zeros((SIZE, SIZE), np.uint8)
    height, width = picture.shape
    top, left = (SIZE - height) // 2, (SIZE - width) // 2
    square[top : top + height, left : left + width] = picture
    image = QImage(square.tobytes(), SIZE, SIZE, SIZE, QImage.Format.Format_Grayscale8)
    pixmap = QPixmap.fromImage(image)
    icon = QIcon(pixmap)
    icon.addPixmap(pixmap, QIcon.Mode.Selected)
    return icon
