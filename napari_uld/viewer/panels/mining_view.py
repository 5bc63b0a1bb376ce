"""What the Mining panel is made of: what to go through, how far it is, the suggestion at hand, buttons."""

# PyQt's stubs call every getter optional; these are there as long as the widget is.
# mypy: disable-error-code="union-attr"

from collections.abc import Sequence
from pathlib import Path

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDoubleSpinBox,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from napari_uld.viewer.panels.mining_table import QueueScans, QueueTable
from napari_uld.viewer.state.found import said_scores
from napari_uld.viewer.state.queue import BY_SCAN, BY_SCORE, Asked, Fate, QueueCounts, Suggestion
from napari_uld.viewer.tools.keys import key_of

ASKED = {
    Asked.SUGGESTIONS: "Suggestions",
    Asked.NEGATIVES: "Hard negatives",
    Asked.CONFLICTS: "Conflicts of merged files",
}
ASKED_TIP = (
    "Suggestions of a detector; what was mined as no lesion, to find lesions among it; "
    "or lesions on which people's merged files differ"
)
BESIDE = "beside the scans"
FOLDER_TIP = (
    "A folder that the files were written into instead of beside the scans: mine --out, merge --out, "
    "DATA/negatives, or RUN/mined/epoch_N"
)
LEAST_TIP = "Suggestions that score less are left out; 0 for each detector's operating point"
AGAIN_TIP = "Read the files again; what was skipped waits again"
START_TIP = "Go to the first suggestion that waits; from then on each decision leads to the next one, scan after scan"
HOW_TO = (
    f"Start goes to the first that waits. Then {key_of('accept')} accepts, {key_of('reject')} rejects, "
    f"{key_of('measure')} measures, comma skips."
)
GOES_ON_TIP = f"Off: a decision stays where it is, and {key_of('next undecided')} goes on"


class MiningView:
    """The widgets, laid out in a panel's body.

    Parameters
    ----------
    body
        Where they are laid out.
    """

    def __init__(self, body: QWidget) -> None:
        self._build_choices()
        self._build_progress()
        self._build_buttons()
        self._lay_out(body)

    # -- building --

    def _build_choices(self) -> None:
        self.asked = QComboBox()
        for asked, name in ASKED.items():
            self.asked.addItem(name, asked)
        self.asked.setToolTip(ASKED_TIP)
        self.folder = QLabel(BESIDE)
        self.folder.setTextFormat(Qt.TextFormat.PlainText)
        self.folder.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self.elsewhere = button("Folder…", FOLDER_TIP)
        self.beside = button("Beside", "Look beside the scans again")
        self.order = QComboBox()
        self.order.setToolTip("What comes next: scan by scan, or of all scans the highest score first")
        self.order.addItem(_order_name(BY_SCAN), BY_SCAN)
        self.least = QDoubleSpinBox()
        self.least.setRange(0.0, 1.0)
        self.least.setSingleStep(0.05)
        self.least.setSpecialValueText("operating point")
        self.least.setToolTip(LEAST_TIP)

    def _build_progress(self) -> None:
        self.choose = button("Choose a folder of scans…", "It is listed in Cases, too")
        self.bar = QProgressBar()
        self.bar.setTextVisible(False)
        self.bar.setMaximumHeight(8)
        self.status = _line()
        self.cancel = button("Cancel", "Look through no more scans; what was found so far can be worked on")
        self.again = button("Look again", AGAIN_TIP)
        self.model = QueueScans()
        self.table = QueueTable(self.model)
        self.at_hand = _line()
        self.at_hand.setMinimumHeight(3 * self.at_hand.fontMetrics().lineSpacing())
        self.at_hand.setAlignment(Qt.AlignmentFlag.AlignTop)

    def _build_buttons(self) -> None:
        self.start = button("Start", START_TIP)
        self.accept = button(f"Accept ({key_of('accept')})", "It is a lesion")
        self.reject = button(f"Reject ({key_of('reject')})", "It is none")
        self.skip = button(f"Skip ({key_of('skip')})", "Leave it for later")
        self.undo = button(f"Undo ({key_of('undo')})", "Take back the last decision, in whichever scan it was made")
        self.goes_on = QCheckBox("Go on after a decision")
        self.goes_on.setChecked(True)
        self.goes_on.setToolTip(GOES_ON_TIP)
        self.goes_on.setFocusPolicy(Qt.FocusPolicy.NoFocus)

    def _lay_out(self, body: QWidget) -> None:
        layout = QVBoxLayout(body)
        layout.setContentsMargins(6, 6, 6, 6)
        form = QFormLayout()
        form.addRow("Go through", self.asked)
        form.addRow("Files", _row(self.folder, self.elsewhere, self.beside, stretch=(1, 0, 0)))
        form.addRow("Order", self.order)
        form.addRow("Score at least", self.least)
        layout.addLayout(form)
        layout.addWidget(self.choose)
        layout.addWidget(self.table, stretch=1)
        layout.addWidget(self.bar)
        layout.addLayout(_row(self.status, self.cancel, self.again, stretch=(1, 0, 0)))
        layout.addWidget(self.at_hand)
        layout.addLayout(_row(self.start, self.goes_on, stretch=(1, 1)))
        layout.addLayout(_row(self.accept, self.reject, self.skip, self.undo, stretch=(1, 1, 1, 1)))

    # -- showing --

    def show_folder(self, folder: Path | None) -> None:
        """Say where the files lie, None for beside the scans."""
        self.folder.setText(BESIDE if folder is None else folder.name or str(folder))
        self.folder.setToolTip(FOLDER_TIP if folder is None else str(folder))
        self.beside.setVisible(folder is not None)

    def offer_orders(self, scores: Sequence[str], order: str) -> None:
        """Offer to order by these scores."""
        wanted = [BY_SCAN, *scores]
        if wanted != [self.order.itemData(i) for i in range(self.order.count())]:
            self.order.blockSignals(True)
            self.order.clear()
            for name in wanted:
                self.order.addItem(_order_name(name), name)
            self.order.setCurrentIndex(max(0, self.order.findData(order)))
            self.order.blockSignals(False)

    def show_progress(self, counts: QueueCounts | None, *, reading: bool) -> None:
        """Show how far reading is while it goes on, then how far the decisions are."""
        decided = 0 if counts is None else counts.accepted + counts.rejected
        done, total = (0, 1) if counts is None else (decided, counts.total)
        if reading and counts is not None:
            done, total = counts.read, counts.scans
        self.bar.setMaximum(max(total, 1))
        self.bar.setValue(done)
        self.status.setText("" if counts is None else _progress(counts, reading=reading))
        self.cancel.setVisible(reading)
        self.again.setVisible(not reading)
        self.again.setEnabled(counts is not None)

    def show_at_hand(self, item: Suggestion | None, place: tuple[int, int] | None, *, waiting: bool) -> None:
        """Say what is at hand, `place` being which of how many of its scan it is, or how to begin where some wait."""
        if item is None:
            self.at_hand.setText(HOW_TO if waiting else "")
            return
        lines = [f"{item.entry.name}, slice {item.row.native}" + (f": {place[0]} of {place[1]}" if place else "")]
        finding = item.finding
        if finding is not None:
            lines.append(f"{said_scores(finding.score, finding.columns)}   {_fate(item)}   {finding.findings.method}")
        else:
            lines.append(_fate(item))
        lines += [item.row.comment] if item.row.comment else []
        self.at_hand.setText("\n".join(lines))

    def show_buttons(self, *, on: bool, can_start: bool, at_hand: bool, can_skip: bool, can_undo: bool) -> None:
        """Enable what can be done."""
        self.start.setText("Stop" if on else "Start")
        self.start.setToolTip("Decisions stay in the scan that is open" if on else START_TIP)
        self.start.setEnabled(on or can_start)
        for each in (self.accept, self.reject):
            each.setEnabled(at_hand)
        self.skip.setEnabled(can_skip)
        self.undo.setEnabled(can_undo)


def _fate(item: Suggestion) -> str:
    return "to decide" if item.fate is Fate.PENDING else item.fate.value


def button(text: str, tip: str) -> QPushButton:
    """Give a button that leaves the focus where it is."""
    made = QPushButton(text)
    made.setToolTip(tip)
    made.setFocusPolicy(Qt.FocusPolicy.NoFocus)
    return made


def _line() -> QLabel:
    label = QLabel()
    label.setTextFormat(Qt.TextFormat.PlainText)
    label.setWordWrap(True)
    return label


def _row(*widgets: QWidget, stretch: tuple[int, ...]) -> QHBoxLayout:
    row = QHBoxLayout()
    row.setSpacing(4)
    for widget, share in zip(widgets, stretch, strict=True):
        row.addWidget(widget, share)
    return row


def _order_name(order: str) -> str:
    names = {BY_SCAN: "scan by scan", BY_SCORE: "score, highest first", "s2": "S2, highest first"}
    return names.get(order, f"{order}, highest first")


def _progress(counts: QueueCounts, *, reading: bool) -> str:
    decided = counts.accepted + counts.rejected
    said = f"{decided} of {counts.total} decided ({counts.accepted} accepted, {counts.rejected} rejected)"
    said += f", {counts.skipped} skipped" if counts.skipped else ""
    if counts.read < counts.scans:
        said += f"; {counts.read} of {counts.scans} scans looked through" + ("" if reading else ", then stopped")
    return said
