"""The table of lesions as a person handles it: several rows chosen at once, cells edited in place, a menu."""

# PyQt's stubs call every getter optional; these are there as long as the widget is.
# mypy: disable-error-code="union-attr, override"

from collections.abc import Iterable

from qtpy.QtCore import QAbstractItemModel, QItemSelection, QItemSelectionModel, QModelIndex, Qt, QTimer, Signal
from qtpy.QtGui import QContextMenuEvent, QPaintEvent, QResizeEvent
from qtpy.QtWidgets import (
    QAbstractItemView,
    QComboBox,
    QHeaderView,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QTableView,
    QWidget,
)

from napari_uld.lesions.annotations import LesionType
from napari_uld.viewer.panels.empty import write_if_empty
from napari_uld.viewer.panels.lesion_menu import lesion_menu
from napari_uld.viewer.panels.lesion_table import HEADERS, name_of
from napari_uld.viewer.session import Session
from napari_uld.viewer.state.rows import Mark

# Pixels, and how many rows there is room for however low the window is.
ROW_HEIGHT, LEAST_ROWS = 24, 8
SOURCE_WIDTH, SOURCE_SHARE = 160, 0.4
# Of the columns whose width is their own, the widest text there is; and the room about a text.
WIDEST = {
    "Slice": "Slice",
    "State": max((mark.value for mark in Mark), key=len),
    "Score": "Score",
    "Type": max((name_of(kind) for kind in LesionType), key=len),
    "Noisy": "",
    "mm": "≈ 000",
}
MARGIN = 14
# These have a square beside the text.
ICONS, SQUARE = ("State", "Noisy"), 20
_Flag = QItemSelectionModel.SelectionFlag


class LesionView(QTableView):
    """Shows a sorted `LesionTable`.

    Parameters
    ----------
    session
        The session whose lesions are shown.
    model
        The rows, as they are sorted.
    """

    # Rows were chosen by a person: the one at hand (-1: none), and all of them.
    chosen = Signal(int, list)

    def __init__(self, session: Session, model: QAbstractItemModel) -> None:
        super().__init__()
        self._session = session
        self._marking = False
        # What is written where there are no lesions.
        self.empty = ""
        self.setModel(model)
        self.setSortingEnabled(True)
        self.sortByColumn(-1, Qt.SortOrder.AscendingOrder)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        trigger = QAbstractItemView.EditTrigger
        self.setEditTriggers(trigger.DoubleClicked | trigger.EditKeyPressed)
        self._types = _TypeDelegate(self)
        self.setItemDelegateForColumn(HEADERS.index("Type"), self._types)
        self.verticalHeader().hide()
        self.verticalHeader().setDefaultSectionSize(ROW_HEIGHT)
        self.horizontalHeader().setMinimumSectionSize(MARGIN)
        self.horizontalHeader().setSectionResizeMode(HEADERS.index("Comment"), QHeaderView.ResizeMode.Stretch)
        self.setMinimumWidth(380)
        self.setMinimumHeight(self.horizontalHeader().sizeHint().height() + LEAST_ROWS * ROW_HEIGHT)
        self.selectionModel().selectionChanged.connect(self._tell)

    def mark(self, at_hand: int, rows: Iterable[int]) -> None:
        """Show which rows are chosen and which is at hand (-1: none); that is nobody's choice and not told."""
        wanted, chosen = set(rows), self.selectionModel()
        self._marking = True
        # What the mouse is choosing is left alone: Qt goes on with it.
        if wanted != {index.row() for index in chosen.selectedRows()}:
            selection = QItemSelection()
            for row in wanted:
                selection.select(self.model().index(row, 0), self.model().index(row, 0))
            chosen.select(selection, _Flag.ClearAndSelect | _Flag.Rows)
        if at_hand != self.currentIndex().row():
            chosen.setCurrentIndex(self.model().index(at_hand, 0), _Flag.NoUpdate)
        if at_hand >= 0:
            self.scrollTo(self.model().index(at_hand, 0))
        self._marking = False

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802
        """Give each column what its texts need; source and comment share the rest, and nothing is scrolled sideways."""
        super().resizeEvent(event)
        header, metrics, room = self.horizontalHeader(), self.fontMetrics(), self.viewport().width()
        for title, text in WIDEST.items():
            width = metrics.horizontalAdvance(text) + MARGIN + (SQUARE if title in ICONS else 0)
            header.resizeSection(HEADERS.index(title), width)
            room -= width
        least = header.fontMetrics().horizontalAdvance("Source") + MARGIN // 2
        header.resizeSection(HEADERS.index("Source"), max(least, min(round(room * SOURCE_SHARE), SOURCE_WIDTH)))

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802
        """Say why there is nothing where there is nothing."""
        super().paintEvent(event)
        write_if_empty(self, self.empty)

    def contextMenuEvent(self, event: QContextMenuEvent) -> None:  # noqa: N802
        """Offer what can be done to the chosen rows."""
        if self.selectionModel().hasSelection():
            lesion_menu(self._session, self).exec(event.globalPos())

    def _tell(self) -> None:
        if self._marking:
            return
        rows = [index.row() for index in self.selectionModel().selectedRows()]
        current = self.currentIndex().row()
        self.chosen.emit(current if current in rows else (rows[0] if rows else -1), rows)


class _TypeDelegate(QStyledItemDelegate):
    """Edits a lesion's type as a list that opens at once and closes with the choice."""

    def createEditor(self, parent: QWidget, _option: QStyleOptionViewItem, _index: QModelIndex) -> QComboBox:  # noqa: N802
        """Give the list of types."""
        types = QComboBox(parent)
        for kind in LesionType:
            types.addItem(name_of(kind) or "not said", int(kind))
        types.activated.connect(lambda: self._chosen(types))
        # The table gives it the focus first; as its child the timer goes with it.
        opening = QTimer(types)
        opening.setSingleShot(True)
        opening.timeout.connect(types.showPopup)
        opening.start(0)
        return types

    def setEditorData(self, editor: QWidget, index: QModelIndex) -> None:  # noqa: N802
        """Begin with the type that there is."""
        if isinstance(editor, QComboBox):
            editor.setCurrentIndex(editor.findData(int(index.data(Qt.ItemDataRole.EditRole))))

    def setModelData(self, editor: QWidget, model: QAbstractItemModel, index: QModelIndex) -> None:  # noqa: N802
        """Take over the choice."""
        if isinstance(editor, QComboBox):
            model.setData(index, editor.currentData(), Qt.ItemDataRole.EditRole)

    def _chosen(self, types: QComboBox) -> None:
        self.commitData.emit(types)
        self.closeEditor.emit(types)
