"""The Cases panel: the scans of a folder, one after the other."""

# PyQt's stubs call every getter optional; these are there as long as the widget is.
# mypy: disable-error-code="union-attr, override"

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from napari.utils.notifications import show_error, show_info, show_warning
from napari.viewer import Viewer
from qtpy.QtCore import QObject, QTimer
from qtpy.QtWidgets import QFileDialog

from napari_uld.ct import ScanEntry
from napari_uld.errors import CaseListError, UldError
from napari_uld.viewer.panels.case_search import CaseSearch
from napari_uld.viewer.panels.case_view import CaseView
from napari_uld.viewer.panels.detector_run import Outcome
from napari_uld.viewer.panels.following import Following
from napari_uld.viewer.panels.opening import open_entry
from napari_uld.viewer.panels.scrolled import ScrolledPanel
from napari_uld.viewer.panels.shortcuts import add_shortcut
from napari_uld.viewer.panels.thumbnails import Thumbnails
from napari_uld.viewer.panels.window import workbench_in_window
from napari_uld.viewer.state.case import Case, Counts
from napari_uld.viewer.state.case_store import CaseStore
from napari_uld.viewer.state.cases import CaseList
from napari_uld.viewer.state.settings import open_unasked, opens_unasked

# Milliseconds without a further change after which it is written down how far the open scan is.
COUNT_AFTER = 1000
# Milliseconds after which the next scan is read: first the one that was opened is drawn.
READ_AFTER = 200
# Milliseconds after which what is said of the whole list is said anew.
SHOW_AFTER = 50
EMPTY = "No folder yet. Choose one with scans: a DICOM tree, a DeepLesion download, NIfTI files."


class CasesPanel(ScrolledPanel):
    """List the scans of a folder with pictures and how far each is; open the next, which is read ahead.

    Parameters
    ----------
    viewer
        The viewer in which they are opened.
    store
        Where what is known of them is kept; the person's own file unless a test brings another.
    """

    def __init__(self, viewer: Viewer, store: CaseStore | None = None) -> None:
        super().__init__()
        workbench = workbench_in_window(viewer)
        self.session = workbench.session
        self._store = store or CaseStore()
        self.ahead = workbench.ahead
        self._thumbnails = Thumbnails(self, lambda: self.ahead.busy)
        self._search = CaseSearch(self)
        # Where the person is in the list, also where that scan could not be opened, and where they were going.
        self._at: int | None = None
        self._by = 1
        # The open scan, where it is of the list, and whether it changed since it was counted.
        self._counting: tuple[Case, int] | None = None
        self._uncounted = False
        self._count_soon = _timer(self, COUNT_AFTER, self._count)
        self._show_soon = _timer(self, SHOW_AFTER, self._show_done)
        self._read_soon = _timer(self, READ_AFTER, self._read_ahead)
        self._left_out: tuple[str, ...] = ()
        self.view = CaseView(self.body)
        self._connect()
        self._following = Following(self, self.session, self._case_changed, self._close)
        self._following.begin()
        self._resume()

    def _connect(self) -> None:
        view, session = self.view, self.session
        self._thumbnails.made.connect(view.model.take)
        self._search.found.connect(self._looked_through)
        self._search.counted.connect(self._take_counts)
        view.looked_at.connect(self._thumbnails.prefer)
        view.wanted.connect(self.open_scan)
        view.chosen.connect(self._show_done)
        view.asked.connect(self._read_ahead)
        view.choose.clicked.connect(self._choose_folder)
        view.folders.activated.connect(lambda row: self.show_folder(Path(view.folders.itemData(row))))
        view.previous.clicked.connect(lambda: self.turn_to(-1))
        view.next.clicked.connect(lambda: self.turn_to(1))
        view.done.clicked.connect(self._mark_done)
        view.unasked.toggled.connect(self._agree)
        for key, by in (("PageDown", 1), ("PageUp", -1)):
            add_shortcut(self, key, partial(self.turn_to, by))
        self._without, session.turn_to = session.turn_to, self.turn_to

    @property
    def cases(self) -> CaseList | None:
        """The list that is shown."""
        return self.view.model.cases

    # -- which folder --

    def show_folder(self, root: Path) -> None:
        """List the scans of a folder, which are looked for in a thread."""
        self._leave()
        self._say(f"Looking for scans in {root} …")
        self._search.look_through(root)

    def show_scans(self, root: Path, scans: Sequence[ScanEntry]) -> None:
        """List scans that were found in a folder, or in its file."""
        self._leave()
        self._found(root if root.is_dir() else root.parent, scans)

    def _resume(self) -> None:
        """Go on with the folder that was looked through last, or say what to do."""
        self._list_folders()
        self.view.show_agreed(None)
        self._show_done()
        if self.view.folders.count():
            self.show_folder(Path(self.view.folders.itemData(0)))
        else:
            self.view.say_empty(EMPTY)

    def _choose_folder(self) -> None:
        chosen = QFileDialog.getExistingDirectory(self, "Choose a folder of scans")
        if chosen:
            # Who opens a folder here need not be asked by napari which reader to use for it.
            open_unasked(Path(chosen), True)
            self.show_folder(Path(chosen))

    def _looked_through(self, root: Path, outcome: Outcome) -> None:
        if outcome.error is None:
            self._found(root, outcome.result)
        else:
            self.view.say_empty("There is no scan in this folder.")
            self._say(str(outcome.error))

    def _found(self, root: Path, found: Sequence[ScanEntry]) -> None:
        """Show the scans of a folder."""
        self._left_out = tuple(map(str, getattr(found, "left_out", ())))
        cases = CaseList(root, found, self._store, show_warning)
        self.view.show(cases)
        cases.changed.connect(self._scan_changed)
        self._list_folders()
        self.view.show_agreed(opens_unasked(root))
        self._thumbnails.begin({scan.key: scan.entry for scan in cases.scans})
        self._search.count(cases)
        self._case_changed(self.session.case)
        self.session.cases = cases
        self.view.go_to(self._at if self._at is not None else cases.last)
        self._show_done()

    def _take_counts(self, at: int, counts: Counts) -> None:
        if self.cases is not None:
            self.cases.take_counts(at, counts)

    def _list_folders(self) -> None:
        try:
            self.view.list_folders(self._store.folders())
        except CaseListError as error:
            show_warning(f"The list of folders cannot be read: {error}")

    def _leave(self) -> None:
        """The folder goes."""
        self._stop()
        self.view.show(None)
        self.view.show_agreed(None)
        self._show_done()

    def _stop(self) -> None:
        """Nothing is read or made for the folder any more."""
        self._count()
        self._counting = self._at = None
        self._following.case_links.release()
        self.session.cases = None
        self._search.end()
        self._thumbnails.end()
        self._read_soon.stop()
        self.ahead.ask(None)

    def _close(self) -> None:
        """The panel goes, or the window."""
        self._stop()
        self.session.turn_to = self._without
        # What it shows may be deleted already.
        with suppress(RuntimeError):
            self.view.show(None)

    def _agree(self, agreed: bool) -> None:
        if self.cases is not None:
            open_unasked(self.cases.root, agreed)

    # -- going from scan to scan --

    def turn_to(self, by: int) -> None:
        """Open the next (1) or the previous (-1) scan of those that are shown, or say that there is none."""
        cases = self.cases
        if cases is None:
            show_info("Choose a folder of scans in Cases first.")
            return
        at = cases.step(self._at, by, self.view.places)
        if self._at is None and self.view.at is not None:
            at = self.view.at
        if at is None:
            show_info(f"This is the {'last' if by > 0 else 'first'} scan of those that are listed.")
            return
        self._by = by
        self.open_scan(at)

    def open_scan(self, at: int) -> None:
        """Open a scan of the list, by its place in it; one that cannot be opened is said, and the open one stays."""
        cases = self.cases
        if cases is None or at == self.view.model.open:
            return
        if self.session.opening:
            show_info("Another scan is being read. Close that one, or wait.")
            return
        if not self.session.may_close():
            return
        self._at = at
        self.view.go_to(at)
        try:
            entry = cases.scans[at].entry
            open_entry(self.session, entry, self.ahead.take(entry), among=[scan.entry for scan in cases.scans])
        except UldError as error:
            # What was shown of it meanwhile went, and the one before came back: the person is here all the same.
            self._at = at
            show_error(f"The scan cannot be opened: {error}")

    def _case_changed(self, case: Case | None) -> None:
        """Follow the open scan, wherever it was opened from."""
        self._count()
        self._counting = None
        at = None if self.cases is None else self.cases.find(case)
        self.view.mark(at)
        self._at = at
        if case is not None and at is not None:
            self._counting = case, at
            self._following.case_links.connect((case.rows_changed, case.saved), self._changed)
            # First the scan is drawn.
            self.session.later(self._opened)
        self._show_done()

    def _opened(self) -> None:
        """A scan of the list was opened, and is still open."""
        if self._counting is not None and self.cases is not None:
            self.cases.open(self._counting[1])
            self._changed()
            self.view.go_to(self._counting[1])
            self._read_soon.start()

    def _read_ahead(self) -> None:
        cases = self.cases
        if cases is not None and self._at is not None:
            at = cases.step(self._at, self._by, self.view.places)
            listed = None if at is None else cases.scans[at].entry
            walk = self.session.walk
            self.ahead.ask(walk.next_entry if walk is not None and walk.on else listed)
        self._show_done()

    # -- how far they are --

    def _changed(self) -> None:
        self._uncounted = True
        self._count_soon.start()

    def _count(self) -> None:
        """Write down how far the open scan is, where that was not done since it changed."""
        self._count_soon.stop()
        if self._counting is not None and self._uncounted and self.cases is not None:
            self._uncounted = False
            case, at = self._counting
            self.cases.count(at, case.counts)

    def _mark_done(self) -> None:
        cases, at = self.cases, self.view.at
        if cases is not None and at is not None:
            cases.mark_done(at, not cases.scans[at].done)
            self._read_ahead()

    def _scan_changed(self, _at: int) -> None:
        """Many scans are counted at once."""
        self._show_soon.start()

    def _show_done(self) -> None:
        cases, places = self.cases, self.view.places
        previous, next_ = (cases is not None and cases.step(self._at, by, places) is not None for by in (-1, 1))
        self.view.show_buttons(previous=previous, next_=next_)
        if cases is not None:
            done = sum(scan.done for scan in cases.scans)
            left_out = "; some files were left out: point here to see which" if self._left_out else ""
            self._say(f"{_many(len(cases.scans))}, {done} done{left_out}", "\n".join(self._left_out))

    def _say(self, text: str, tip: str = "") -> None:
        self.view.status.setText(text)
        self.view.status.setToolTip(tip)


def _many(count: int) -> str:
    return f"{count} scan{'s' if count != 1 else ''}"


def _timer(parent: QObject, after: int, act: Callable[[], None]) -> QTimer:
    """Give a timer that does something once, so many milliseconds after it was started last."""
    timer = QTimer(parent)
    timer.setSingleShot(True)
    timer.setInterval(after)
    timer.timeout.connect(act)
    return timer
