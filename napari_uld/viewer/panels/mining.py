"""The Mining panel: what detectors suggest on all scans of a folder, decided on one after the other."""

# PyQt's stubs call every getter optional; these are there as long as the widget is.
# mypy: disable-error-code="union-attr"

from functools import partial
from pathlib import Path

from napari.utils.notifications import show_error, show_info
from napari.viewer import Viewer
from qtpy.QtCore import QModelIndex, QTimer
from qtpy.QtWidgets import QFileDialog

from napari_uld.ct import CTVolume
from napari_uld.errors import UldError
from napari_uld.lesions.annotations import State
from napari_uld.lesions.beside import Mirror
from napari_uld.viewer.panels.docking import list_folder
from napari_uld.viewer.panels.following import Following
from napari_uld.viewer.panels.mining_view import MiningView
from napari_uld.viewer.panels.opening import open_entry
from napari_uld.viewer.panels.queue_reading import QueueReading
from napari_uld.viewer.panels.scrolled import ScrolledPanel
from napari_uld.viewer.panels.shortcuts import add_shortcut
from napari_uld.viewer.panels.window import workbench_in_window
from napari_uld.viewer.state.case import Case
from napari_uld.viewer.state.files import open_case
from napari_uld.viewer.state.queue import Asked, Fate, Queue
from napari_uld.viewer.tools import review
from napari_uld.viewer.tools.keys import KEYS
from napari_uld.viewer.tools.queue_walk import QueueWalk

# Milliseconds after which what changed is shown, and after which the next scan is read: first comes the picture.
SHOW_AFTER, READ_AFTER = 40, 200
NO_FOLDER = "No folder is listed yet. Choose one with scans, here or in Cases."
LOOKING = "Looking through the scans …"
BELOW = "All that was found scores less than is asked for. Lower the score."
EMPTY = {
    Asked.SUGGESTIONS: (
        "Nothing is suggested for these scans. Let a detector look through them first:\n\n"
        "napari-uld mine FOLDER --checkpoint NAME\n\nFiles that were written elsewhere: Folder…"
    ),
    Asked.NEGATIVES: (
        "No hard negative lies there. Choose the folder that they were mined into with Folder…: "
        "RUN/mined/epoch_N, or DATA/negatives."
    ),
    Asked.CONFLICTS: (
        "No lesion is in conflict there. Choose the folder that napari-uld merge wrote with Folder…; "
        "what people differ on waits in it."
    ),
}


class MiningPanel(ScrolledPanel):
    """Go through a queue of suggestions over the scans that Cases lists.

    Parameters
    ----------
    viewer
        The viewer in which they are opened.
    """

    def __init__(self, viewer: Viewer) -> None:
        super().__init__()
        workbench = workbench_in_window(viewer)
        self.session = workbench.session
        self._ahead = workbench.ahead
        self.walk = QueueWalk(self.session, self._open_scan)
        self._folder: Path | None = None
        self._names: list[str] = []
        self._reading = QueueReading(self)
        self._show_soon, self._read_soon = QTimer(self), QTimer(self)
        for timer, after, act in (
            (self._show_soon, SHOW_AFTER, self._show),
            (self._read_soon, READ_AFTER, self._read_ahead),
        ):
            timer.setSingleShot(True)
            timer.setInterval(after)
            timer.timeout.connect(act)
        self.view = MiningView(self.body)
        self._connect()
        self._following = Following(self, self.session, self._opened, self._end)
        self._following.links.connect(self.session.cases_changed, self._begin)
        self._following.links.connect(self.walk.changed, self._changed)
        self._following.begin()
        self._show_folder(None)

    def _connect(self) -> None:
        view, session = self.view, self.session
        self._reading.finished.connect(self._changed)
        view.asked.currentIndexChanged.connect(self._begin)
        view.elsewhere.clicked.connect(self._choose_files)
        view.beside.clicked.connect(lambda: self._show_folder(None))
        view.order.currentIndexChanged.connect(self._order)
        view.least.valueChanged.connect(self._filter)
        view.choose.clicked.connect(self._choose_folder)
        view.cancel.clicked.connect(self._cancel)
        view.again.clicked.connect(self._begin)
        view.table.doubleClicked.connect(self._go_to)
        view.start.clicked.connect(self.start_or_stop)
        view.accept.clicked.connect(lambda: review.decide(session, State.ACCEPTED))
        view.reject.clicked.connect(lambda: review.decide(session, State.REJECTED))
        view.skip.clicked.connect(lambda: review.skip(session))
        view.undo.clicked.connect(lambda: review.undo(session))
        view.goes_on.toggled.connect(lambda on: setattr(self.walk, "goes_on", on))
        for key in KEYS:
            add_shortcut(self, key.key, partial(key.act, session))

    # -- which queue --

    @property
    def queue(self) -> Queue | None:
        """The queue that is gone through."""
        return self.walk.queue

    @property
    def reading(self) -> bool:
        """Whether scans are being looked through."""
        return self._reading.running

    def _begin(self) -> None:
        """Make the queue anew, of the files as they are now."""
        self._reading.end()
        cases, view = self.session.cases, self.view
        if cases is None:
            self.walk.take(None, None)
            return
        asked = view.asked.currentData()
        mirror = None if self._folder is None else Mirror(cases.root, self._folder)
        self._names = [scan.entry.name for scan in cases.scans]
        queue = Queue(
            [scan.entry for scan in cases.scans], mirror=mirror, asked=asked, least=view.least.value() or None
        )
        view.least.setEnabled(asked is Asked.SUGGESTIONS)
        queue.order = view.order.currentData()
        self.walk.take(queue, cases)
        self._reading.begin(queue)
        self._changed()

    def _show_folder(self, folder: Path | None) -> None:
        self._folder = folder
        self.view.show_folder(folder)
        self._begin()

    def _choose_files(self) -> None:
        chosen = QFileDialog.getExistingDirectory(self, "Choose the folder that the files were written into")
        if chosen:
            self._show_folder(Path(chosen))

    def _choose_folder(self) -> None:
        chosen = QFileDialog.getExistingDirectory(self, "Choose a folder of scans")
        if chosen:
            list_folder(Path(chosen))

    def _cancel(self) -> None:
        self._reading.end()
        self._changed()

    def _order(self) -> None:
        if self.queue is not None:
            self.queue.order = self.view.order.currentData()

    def _filter(self, least: float) -> None:
        if self.queue is not None:
            self.queue.least = least or None

    def _end(self) -> None:
        """The panel goes, or the window; what it shows may be deleted already."""
        self._following.links.release()
        self._following.case_links.release()
        self._reading.end()
        self.walk.release()

    # -- going through it --

    def start_or_stop(self) -> None:
        """Begin to lead from suggestion to suggestion, or end it."""
        if self.walk.on:
            self.walk.stop()
        else:
            self.walk.start()

    def _go_to(self, index: QModelIndex) -> None:
        """Go on in the scan that was chosen."""
        at = self.view.model.places[index.row()]
        items = [] if self.queue is None else [item for item in self.queue.items if item.at == at]
        waiting = (item for item in items if item.fate is Fate.PENDING)
        item = next(waiting, items[0] if items else None)
        if item is not None:
            self.walk.show(item)

    def _open_scan(self, at: int, key: str) -> bool:
        """Open a scan of the queue on one of its lesions; what waits in one that cannot be opened is skipped."""
        queue, session = self.queue, self.session
        if queue is None:
            return False
        if session.opening:
            show_info("Another scan is being read. Close that one, or wait.")
            return False
        if not session.may_close():
            return False
        entry, volume = queue.entries[at], None
        if self.walk.at == at and session.case is not None and session.case.reading is None:
            volume = session.case.volume
        try:
            open_entry(session, entry, volume or self._ahead.take(entry), partial(_open_case, queue, at, key))
        except UldError as error:
            show_error(f"The scan cannot be opened, what waits in it is skipped: {error}")
            self.walk.leave_scan(at)
            return False
        return self.walk.at == at

    def _read_ahead(self) -> None:
        if self.walk.on:
            self._ahead.ask(self.walk.next_entry)

    # -- showing --

    def _opened(self, case: Case | None) -> None:
        if case is not None:
            self._following.case_links.connect((case.rows_changed, case.current_changed), self._changed)
        self._changed()

    def _changed(self) -> None:
        self._show_soon.start()
        self._read_soon.start()

    def _show(self) -> None:
        queue, view, case = self.queue, self.view, self.session.case
        current = None if queue is None else queue.current
        view.choose.setVisible(self.session.cases is None)
        view.model.show(self._names, {} if queue is None else queue.by_scan(), None if current is None else current.at)
        view.table.say_empty(self._why_empty())
        view.show_progress(None if queue is None else queue.counts, reading=self.reading)
        if queue is not None:
            view.offer_orders(queue.scores if queue.items else (), queue.order)
        view.show_at_hand(current, self._place(), waiting=queue is not None and queue.counts.pending > 0)
        view.show_buttons(
            on=self.walk.on,
            can_start=queue is not None and queue.counts.pending > 0,
            at_hand=case is not None and case.current is not None,
            can_skip=self.walk.on and current is not None and current.fate is Fate.PENDING,
            can_undo=case is not None and (case.annotations.can_undo or self.walk.can_take_back),
        )

    def _place(self) -> tuple[int, int] | None:
        """Which of how many suggestions of its scan the one at hand is."""
        queue, current = self.queue, None if self.queue is None else self.queue.current
        if queue is None or current is None:
            return None
        keys = [item.key for item in queue.items if item.at == current.at]
        return keys.index(current.key) + 1, len(keys)

    def _why_empty(self) -> str:
        queue = self.queue
        if queue is None:
            return NO_FOLDER
        if self.reading:
            return LOOKING
        found = any(queue.findings(at) for at in range(len(queue.entries)))
        return BELOW if found and queue.asked is Asked.SUGGESTIONS else EMPTY[queue.asked]


def _open_case(queue: Queue, at: int, key: str, volume: CTVolume) -> tuple[Case, tuple[str, ...]]:
    """Open a scan with what the queue has of it, which is not kept beside the scan for that."""
    case, notes = open_case(volume, queue.kept_in)
    for findings in queue.findings(at):
        if queue.asked is Asked.NEGATIVES or findings.detector not in case.findings:
            case.set_findings(findings)
    case.select(key)
    return case, notes
