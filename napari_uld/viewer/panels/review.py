"""The Review panel: the table of lesions and everything that is decided about them."""

# PyQt's stubs call every getter optional; these are there as long as the widget is.
# mypy: disable-error-code="union-attr, override"

from collections.abc import Callable
from functools import partial
from typing import Any

from napari.utils.notifications import show_error, show_info
from napari.viewer import Viewer
from qtpy.QtCore import QSortFilterProxyModel, Qt
from qtpy.QtWidgets import (
    QButtonGroup,
    QCheckBox,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QVBoxLayout,
)
from superqt import QCollapsible

from napari_uld.ct.windows import WINDOWS
from napari_uld.errors import UldError
from napari_uld.lesions.annotations import State
from napari_uld.viewer.layers.marks import Kind
from napari_uld.viewer.layers.scan import SERIES
from napari_uld.viewer.panels.dialogs import ask_export_path, ask_save_path
from napari_uld.viewer.panels.empty import NO_SCAN, Hint
from napari_uld.viewer.panels.following import Following
from napari_uld.viewer.panels.lesion_table import LesionTable
from napari_uld.viewer.panels.lesion_view import LesionView
from napari_uld.viewer.panels.rulers import Rulers
from napari_uld.viewer.panels.scrolled import ScrolledPanel
from napari_uld.viewer.panels.shortcuts import add_shortcut
from napari_uld.viewer.panels.window import workbench_in_window
from napari_uld.viewer.state.case import Case, Counts
from napari_uld.viewer.state.files import export_dl_info, export_refusal
from napari_uld.viewer.state.rows import Row
from napari_uld.viewer.tools import review
from napari_uld.viewer.tools.keys import KEYS, key_of
from napari_uld.viewer.tools.measuring import measure

EXPORT_TIP = "Export to DL_info.csv: the table that detectors are trained from gets this series' lesions"

LABELS = "all labels"
MARK_TIPS = {
    Kind.RECIST: "The diameters that were measured",
    Kind.LESIONS: "Boxes of what is annotated or decided",
    Kind.DETECTIONS: "Boxes of what waits for a decision",
    Kind.POINTS: "Points that a detector put on the surface of the lesion at hand, near this slice",
    LABELS: "Label every mark; else the lesion at hand and the one that is pointed at",
}


class ReviewPanel(ScrolledPanel):
    """Table of lesions; jump to, accept, reject, undo, save; windows.

    Parameters
    ----------
    viewer
        The viewer whose open scan is reviewed.
    """

    def __init__(self, viewer: Viewer) -> None:
        super().__init__()
        workbench = workbench_in_window(viewer)
        self.session = workbench.session
        self._case: Case | None = None
        self._drawing = workbench.drawing
        self.rulers = Rulers(workbench.ruler, self)
        self._build()
        self._following = Following(self, self.session, self._open)
        self._following.links.connect(self.session.view_changed, self._show_window)
        self._following.links.connect(workbench.ruler.changed, self.rulers.show)
        self._following.links.connect(workbench.drawing.changed, self._show_drawing)
        self._following.begin()

    # -- building --

    def _build(self) -> None:
        layout = QVBoxLayout(self.body)
        layout.setContentsMargins(6, 6, 6, 6)
        self.title = QLabel()
        self.title.setTextFormat(Qt.TextFormat.RichText)
        # A panel that becomes wider with what it says takes from the scan, in the midst of a review.
        self.title.setWordWrap(True)
        self.hint = Hint()
        layout.addWidget(self.hint)
        layout.addWidget(self.title)
        layout.addWidget(self._build_table(), stretch=1)
        layout.addLayout(self._build_buttons())
        layout.addWidget(self.rulers.line)
        layout.addLayout(self._build_windows())
        layout.addLayout(self._build_marks())
        layout.addWidget(_help())
        for key in KEYS:
            add_shortcut(self, key.key, partial(key.act, self.session))

    def _build_table(self) -> LesionView:
        self.model = LesionTable()
        self.sorted = QSortFilterProxyModel()
        self.sorted.setSourceModel(self.model)
        self.sorted.setSortRole(Qt.ItemDataRole.UserRole)
        self.model.typed.connect(lambda row, kind: self._describe(row, Case.set_type, kind))
        self.model.called_noisy.connect(lambda row, noisy: self._describe(row, Case.set_noisy, noisy))
        self.model.commented.connect(lambda row, text: self._describe(row, Case.set_comment, text))
        self.table = LesionView(self.session, self.sorted)
        self.table.chosen.connect(self._choose)
        self.sorted.layoutChanged.connect(self._order)
        return self.table

    def _build_buttons(self) -> QGridLayout:
        session = self.session
        self.previous = _button("Previous", "previous lesion", lambda: review.step(session, -1))
        self.next = _button("Next", "next lesion", lambda: review.step(session, 1))
        self.accept = _button("Accept", "accept", lambda: review.decide(session, State.ACCEPTED))
        self.reject = _button("Reject", "reject", lambda: review.decide(session, State.REJECTED))
        self.undo = _button("Undo", "undo", lambda: review.undo(session))
        self.redo = _button("Redo", "redo", lambda: review.redo(session))
        self.save = _button("Save", "save", session.save)
        self.save_as = _plain("Save as…", "Save the lesions in another file", self._save_as)
        self.export = _plain("Export…", EXPORT_TIP, self._export)
        self.measure = _button("Measure", "measure", lambda: measure(session))
        self.draw_recist = _plain(
            f"Draw RECIST ({key_of('draw RECIST')})",
            "Click both ends of the long diameter, then of the short one: of the lesion at hand, or of a new one",
            self._draw_recist,
        )
        self.draw_recist.setCheckable(True)
        self.edit_box = _plain(
            "Edit box", "Drag the box of the lesion at hand on its key slice", lambda: review.edit_box(session)
        )
        self.draw = _plain(
            "Draw lesion", "Draw a rectangle about a lesion that is missing", lambda: review.draw_lesion(session)
        )
        grid = QGridLayout()
        rows = (
            (self.accept, self.reject, self.previous, self.next),
            (self.undo, self.redo, self.save, self.save_as),
            (self.measure, self.draw_recist, self.edit_box, self.draw),
            (*self.rulers.buttons, self.export),
        )
        for i, row in enumerate(rows):
            for j, button in enumerate(row):
                grid.addWidget(button, i, j)
        return grid

    def _build_windows(self) -> QHBoxLayout:
        row = QHBoxLayout()
        row.setSpacing(4)
        self.windows = QButtonGroup(self)
        self.windows.setExclusive(False)
        act = self.session.set_window
        buttons = [_plain("Series", "The window that the series brings along", partial(act, SERIES))]
        buttons += [
            _button(name.capitalize(), f"{name} window", partial(act, name), show_key=False) for name in WINDOWS
        ]
        for name, button in zip((SERIES, *WINDOWS), buttons, strict=True):
            button.setCheckable(True)
            button.setObjectName(name)
            self.windows.addButton(button)
            row.addWidget(button)
        return row

    def _build_marks(self) -> QHBoxLayout:
        row = QHBoxLayout()
        row.setSpacing(4)
        row.addWidget(QLabel("Show"))
        self.marks: dict[str, QCheckBox] = {}
        for kind, tip in MARK_TIPS.items():
            box = self.marks[kind] = QCheckBox(kind[0].upper() + kind[1:])
            box.setToolTip(tip)
            box.setFocusPolicy(Qt.FocusPolicy.NoFocus)
            box.setChecked(kind in self.session.kinds or (kind == LABELS and self.session.labels_all))
            box.toggled.connect(lambda _on: self._choose_marks())
            row.addWidget(box)
        row.addStretch(1)
        return row

    def _choose_marks(self) -> None:
        kinds = [kind for kind in Kind if self.marks[kind].isChecked()]
        self.session.choose_marks(kinds, labels_all=self.marks[LABELS].isChecked())

    # -- following the case --

    def _open(self, case: Case | None) -> None:
        self._case = case
        if case is not None:
            self._following.case_links.connect((case.rows_changed, case.saved), self._show)
            self._following.case_links.connect(case.current_changed, self._mark_current)
        self._show()
        self._show_window()

    def _show(self) -> None:
        case = self._case
        rows = case.rows if case is not None else ()
        self.model.show(rows)
        # Few detectors give points.
        self.marks[Kind.POINTS].setVisible(any(row.surface for row in rows))
        self._order()
        self.table.empty = _why_empty(case)
        self.table.viewport().update()
        if case is None:
            self.title.setText("No scan is open.")
        else:
            unsaved = ' <span style="color:#F0A000">● not saved</span>' if case.annotations.unsaved else ""
            self.title.setText(f"<b>{case.volume.name}</b>  {_progress(case.counts)}{unsaved}")
            self.title.setToolTip(str(case.path))
        self._mark_current()

    def _mark_current(self) -> None:
        case = self._case
        places = {row.key: i for i, row in enumerate(self.model.rows)}
        chosen = case.chosen if case is not None else ()
        at_hand = case.current if case is not None else None
        self.table.mark(
            -1 if at_hand is None else self._shown_at(places[at_hand.key]),
            [self._shown_at(places[row.key]) for row in chosen],
        )
        self._enable()

    def _shown_at(self, row: int) -> int:
        """Where a lesion stands as the table is sorted."""
        return self.sorted.mapFromSource(self.model.index(row, 0)).row()

    def _enable(self) -> None:
        case = self._case
        some = case is not None and bool(case.rows)
        for button in (self.previous, self.next):
            button.setEnabled(some)
        for button in (self.accept, self.reject, self.measure, self.edit_box):
            button.setEnabled(case is not None and case.current is not None)
        self.undo.setEnabled(case is not None and case.annotations.can_undo)
        self.redo.setEnabled(case is not None and case.annotations.can_redo)
        self.save.setEnabled(case is not None and case.annotations.unsaved)
        for button in (self.save_as, self.draw_recist, *self.rulers.buttons):
            button.setEnabled(case is not None)
        refusal = "Open a DeepLesion series first." if case is None else export_refusal(case.volume)
        self.export.setEnabled(not refusal)
        self.export.setToolTip(refusal or EXPORT_TIP)
        self.draw.setEnabled(case is not None)

    def _show_window(self) -> None:
        window, choices = self.session.window, self.session.windows
        for button in self.windows.buttons():
            button.setEnabled(window is not None)
            button.setChecked(window is not None and choices.get(button.objectName()) == window)

    def _order(self) -> None:
        if self._case is not None:
            rows = (self.sorted.mapToSource(self.sorted.index(i, 0)).row() for i in range(self.sorted.rowCount()))
            self._case.order = tuple(self.model.rows[row].key for row in rows)

    def _show_drawing(self) -> None:
        self.draw_recist.setChecked(self._drawing.on)

    # -- what the person does --

    def _draw_recist(self) -> None:
        """Begin to draw, or, pressed again, give up."""
        if self._drawing.on:
            self._drawing.stop()
        else:
            self._drawing.start()
        self._show_drawing()

    def _choose(self, at_hand: int, rows: list[int]) -> None:
        """Take the rows of the table that a person chose."""
        if self._case is None:
            return
        lesions = {row: self.model.rows[self.sorted.mapToSource(self.sorted.index(row, 0)).row()] for row in rows}
        current = lesions.get(at_hand)
        self._case.choose(None if current is None else current.key, [lesion.key for lesion in lesions.values()])
        if current is not None:
            self.session.show_native(current.native)

    def _describe(self, row: Row, describe: Callable[[Case, list[str], Any], None], value: object) -> None:
        """Take over a cell that a person changed, for all chosen rows where it is one of them."""
        if self._case is not None:
            chosen = [each.key for each in self._case.chosen]
            describe(self._case, chosen if row.key in chosen else [row.key], value)

    def _save_as(self) -> None:
        if self._case is not None:
            path = ask_save_path(self._case)
            if path is not None:
                self.session.save(path)

    def _export(self) -> None:
        path = None if self._case is None else ask_export_path(self._case)
        if self._case is None or path is None:
            return
        try:
            show_info(export_dl_info(self._case, path))
        except UldError as error:
            show_error(f"The table was not written: {error}")


def _why_empty(case: Case | None) -> str:
    """Say why there are no lesions in the table, and what to do."""
    if case is None:
        return NO_SCAN
    if case.reading is not None:
        return "The scan is being read; its lesions come with its last slice."
    if any(len(found) for found in case.findings.values()):
        return "All that was found scores below the threshold: lower it in Detect, or draw what you see."
    return "No lesion is marked yet. Run a detector in Detect, or draw what you see: Draw lesion, or Draw RECIST."


def _progress(counts: Counts) -> str:
    """Say how far the review is."""
    said = [f"{counts.annotated} annotated"] if counts.annotated else []
    if counts.found:
        said.append(f"{counts.decided} of {counts.found} detection{'s' if counts.found != 1 else ''} decided")
    return ", ".join(said) or "no lesions yet"


def _button(text: str, title: str, act: Callable[[], object], *, show_key: bool = True) -> QPushButton:
    key = key_of(title)
    return _plain(f"{text} ({key})" if show_key and len(key) == 1 else text, f"{title.capitalize()}: key {key}", act)


def _plain(text: str, tip: str, act: Callable[[], object]) -> QPushButton:
    button = QPushButton(text)
    button.setToolTip(tip)
    button.setFocusPolicy(Qt.FocusPolicy.NoFocus)
    button.clicked.connect(lambda: act())
    return button


def _help() -> QCollapsible:
    half = (len(KEYS) + 1) // 2
    lines = []
    for left, right in zip(KEYS[:half], [*KEYS[half:], None], strict=False):
        pair = [f"<td><b>{k.key}</b>&nbsp;</td><td>{k.title}&nbsp;&nbsp;&nbsp;</td>" for k in (left, right) if k]
        lines.append(f"<tr>{''.join(pair)}</tr>")
    drawing = "A box or a diameter that is dragged in its layer is an edit like any other: it can be undone."
    label = QLabel(f"<table>{''.join(lines)}</table><p>{drawing}</p>")
    label.setWordWrap(True)
    keys = QCollapsible("Keys")
    keys.addWidget(label)
    return keys
