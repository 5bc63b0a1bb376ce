"""What the Cases panel looks like: folders, a filter, the list, buttons."""

# PyQt's stubs call every getter optional; these are there as long as the widget is.
# mypy: disable-error-code="union-attr, override"

from collections.abc import Mapping
from pathlib import Path

from qtpy.QtCore import QModelIndex, QObject, QSize, Qt, QTimer, Signal
from qtpy.QtGui import QKeyEvent, QPaintEvent
from qtpy.QtWidgets import (
    QAbstractItemView,
    QCheckBox,
    QComboBox,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QListView,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from napari_uld.viewer.panels.case_table import CaseModel, ShownCases
from napari_uld.viewer.panels.empty import write_if_empty
from napari_uld.viewer.panels.thumbnails import SIZE
from napari_uld.viewer.state.case_store import Folder
from napari_uld.viewer.state.cases import CaseList, Which
from napari_uld.viewer.tools.keys import key_of

# How many folders can be gone back to.
FOLDERS = 10
# Scans that are always seen, however little room there is.
ROWS = 2
NONE_ASKED_FOR = "No scan of this folder has these words and is of this kind: clear the filter to see all."


class CaseView(QObject):
    """The widgets, laid out in a panel's body; places are those of the list, whatever of it is shown.

    Parameters
    ----------
    body
        Where they are laid out.
    """

    # A scan is to be opened.
    wanted = Signal(int)
    # Another one is selected.
    chosen = Signal()
    # Other scans are asked for.
    asked = Signal()
    # What the scans are called that can be seen.
    looked_at = Signal(object)

    def __init__(self, body: QWidget) -> None:
        super().__init__(body)
        self.model = CaseModel()
        self.shown = ShownCases(self.model)
        self._build_fields()
        self._build_list()
        self._lay_out(body)
        self._look_soon = QTimer(self)
        self._look_soon.setSingleShot(True)
        self._look_soon.timeout.connect(self._look)
        for signal in (
            self.list.verticalScrollBar().valueChanged,
            self.list.verticalScrollBar().rangeChanged,
            self.shown.layoutChanged,
            self.shown.modelReset,
        ):
            signal.connect(lambda *_: self._look_soon.start(0))

    # -- building --

    def _build_fields(self) -> None:
        self.folders = QComboBox()
        self.folders.setPlaceholderText("No folder yet")
        self.folders.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.choose = QPushButton("Choose…")
        self.choose.setToolTip("Choose a folder; its subfolders are looked through, too")
        self.words = QLineEdit()
        self.words.setPlaceholderText("Filter by name, folder, date")
        self.words.setClearButtonEnabled(True)
        self.which = QComboBox()
        for which in Which:
            self.which.addItem(which.value.capitalize(), which)
        self.words.textChanged.connect(self._ask)
        self.which.currentIndexChanged.connect(self._ask)
        self.unasked = QCheckBox("Open this folder without asking")
        self.unasked.setToolTip(
            "When this folder or one in it is dropped on the window, it opens with this plugin:\n"
            "napari does not ask which reader to use. The same stands in napari's preferences, under Plugins."
        )
        self.status = QLabel()
        self.status.setTextFormat(Qt.TextFormat.PlainText)
        self.status.setWordWrap(True)

    def _build_list(self) -> None:
        self.list = _ScanList()
        self.list.setModel(self.shown)
        self.list.setIconSize(QSize(SIZE, SIZE))
        self.list.setUniformItemSizes(True)
        self.list.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self.list.setVerticalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.list.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.list.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.list.setMinimumHeight(ROWS * (SIZE + 8))
        self.list.doubleClicked.connect(self._want)
        self.list.entered_at.connect(self._want)
        self.list.selectionModel().currentChanged.connect(lambda *_: self.chosen.emit())
        self.previous = _button("Previous", f"Open the previous scan: key {key_of('previous scan')}")
        self.next = _button("Next", f"Open the next scan: key {key_of('next scan')}")
        self.done = _button("Mark as done", "Mark the selected scan as done, or as to do again")

    def _lay_out(self, body: QWidget) -> None:
        layout = QVBoxLayout(body)
        layout.setContentsMargins(6, 6, 6, 6)
        for widgets in ((self.folders, self.choose), (self.words, self.which)):
            layout.addLayout(_row(*widgets, stretch=(1, 0)))
        layout.addWidget(self.list, stretch=1)
        layout.addLayout(_row(self.previous, self.next, self.done, stretch=(1, 1, 1)))
        layout.addWidget(self.status)
        layout.addWidget(self.unasked)

    # -- showing --

    def show(self, cases: CaseList | None) -> None:
        """Show a list, or none."""
        self.model.show(cases)
        self.say_empty("" if cases is None else NONE_ASKED_FOR)
        self._look_soon.start(0)

    def say_empty(self, text: str) -> None:
        """Write this where no scan is listed."""
        self.list.empty = text
        self.list.viewport().update()

    def list_folders(self, known: Mapping[str, Folder]) -> None:
        """Offer the folders that were looked through, the last one first."""
        latest = sorted(known, key=lambda name: known[name].opened, reverse=True)[:FOLDERS]
        self.folders.clear()
        for name in latest:
            path = Path(name)
            self.folders.addItem(f"{path.name}   in {path.parent}" if path.name else name, name)
            self.folders.setItemData(self.folders.count() - 1, name, Qt.ItemDataRole.ToolTipRole)
        self.folders.setCurrentIndex(0 if latest else -1)

    def show_agreed(self, agreed: bool | None) -> None:
        """Show whether the folder opens without a question; None where there is none."""
        self.unasked.setEnabled(agreed is not None)
        self.unasked.blockSignals(True)
        self.unasked.setChecked(bool(agreed))
        self.unasked.blockSignals(False)

    def mark(self, at: int | None) -> None:
        """Mark the open scan."""
        self.model.mark(at)

    def go_to(self, at: int | None) -> None:
        """Select a scan, where it is shown, and bring it into view."""
        index = QModelIndex() if at is None else self.shown.mapFromSource(self.model.index(at, 0))
        if index.isValid():
            self.list.setCurrentIndex(index)
            self.list.scrollTo(index)

    def show_buttons(self, *, previous: bool, next_: bool) -> None:
        """Enable what can be done."""
        cases, at = self.model.cases, self.at
        self.previous.setEnabled(previous)
        self.next.setEnabled(next_)
        self.done.setEnabled(at is not None)
        is_done = cases is not None and at is not None and cases.scans[at].done
        self.done.setText("To do again" if is_done else "Mark as done")

    @property
    def at(self) -> int | None:
        """The place of the selected scan."""
        index = self.list.currentIndex()
        return self.shown.mapToSource(index).row() if index.isValid() else None

    @property
    def places(self) -> list[int]:
        """The places of the scans that are shown."""
        return self.shown.places

    # -- what the person does --

    def _ask(self) -> None:
        self.shown.ask_for(self.words.text(), self.which.currentData())
        self.asked.emit()

    def _want(self, index: QModelIndex) -> None:
        if index.isValid():
            self.wanted.emit(self.shown.mapToSource(index).row())

    def _look(self) -> None:
        """Tell which scans can be seen."""
        cases, area = self.model.cases, self.list.viewport().rect()
        first = self.list.indexAt(area.topLeft())
        if cases is None or not first.isValid():
            return
        last = self.list.indexAt(area.bottomLeft())
        end = last.row() + 1 if last.isValid() else self.shown.rowCount()
        self.looked_at.emit([cases.scans[at].key for at in self.places[first.row() : end]])


class _ScanList(QListView):
    """A list whose Enter opens: what Qt calls activation is a single click on some systems."""

    entered_at = Signal(QModelIndex)
    # What is written where there are no scans.
    empty = ""

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802
        """Say why there is nothing where there is nothing."""
        super().paintEvent(event)
        write_if_empty(self, self.empty)

    def keyPressEvent(self, event: QKeyEvent) -> None:  # noqa: N802
        """Open with Enter."""
        if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            self.entered_at.emit(self.currentIndex())
        else:
            super().keyPressEvent(event)


def _button(text: str, tip: str) -> QPushButton:
    button = QPushButton(text)
    button.setToolTip(tip)
    button.setFocusPolicy(Qt.FocusPolicy.NoFocus)
    return button


def _row(*widgets: QWidget, stretch: tuple[int, ...]) -> QHBoxLayout:
    row = QHBoxLayout()
    row.setSpacing(4)
    for widget, share in zip(widgets, stretch, strict=True):
        row.addWidget(widget, share)
    return row
