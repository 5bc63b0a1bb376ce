"""Working through a queue: from suggestion to suggestion, scan to scan, and decisions taken back over scans."""

from collections.abc import Callable
from dataclasses import dataclass

from napari.utils.notifications import show_info
from psygnal import Signal

from napari_uld.ct.entries import ScanEntry
from napari_uld.errors import AnnotationError
from napari_uld.lesions.annotations import Annotation
from napari_uld.lesions.edits import Edit
from napari_uld.viewer.session import Session
from napari_uld.viewer.state.case import Case
from napari_uld.viewer.state.cases import CaseList
from napari_uld.viewer.state.links import Links
from napari_uld.viewer.state.queue import Fate, Queue, Suggestion
from napari_uld.viewer.state.rows import Row
from napari_uld.viewer.tools import review

UNDO = "undo "


@dataclass(frozen=True)
class _Action:
    """Edits that were made as one, and the scan that they were made in."""

    at: int
    edits: tuple[Edit[Annotation], ...]


class QueueWalk:
    """The way of one viewer through a queue; it is the session's `walk` until it is released.

    Parameters
    ----------
    session
        The session.
    open_scan
        Opens a scan of the queue, by its place in it, on the lesion with a key; tells whether it is open.
    """

    # Another queue, other suggestions, another one at hand, at work or not.
    changed = Signal()

    def __init__(self, session: Session, open_scan: Callable[[int, str], bool]) -> None:
        self._session = session
        self._open_scan = open_scan
        self.queue: Queue | None = None
        self.goes_on = True
        self._cases: CaseList | None = None
        self._on = False
        # The open scan where it is of the queue, its place, and whether it was opened for the queue.
        self._case: Case | None = None
        self.at: int | None = None
        self._is_own = False
        # Every edit in scans of the queue, the last one last, and those so far of an action that is several.
        self._done: list[_Action] = []
        self._action: list[Edit[Annotation]] = []
        self._links, self._case_links, self._queue_links = Links(), Links(), Links()
        self._links.connect(session.case_changed, self._case_changed)
        session.walk = self

    def release(self) -> None:
        """Lead no more."""
        self.take(None, None)
        self._links.release()
        if self._session.walk is self:
            self._session.walk = None

    def take(self, queue: Queue | None, cases: CaseList | None) -> None:
        """Go through another queue, over the scans of a list; edits of the one before are taken back there no more."""
        self._queue_links.release()
        self._on = False
        self._done.clear()
        self.queue, self._cases = queue, cases
        if queue is not None:
            self._queue_links.connect((queue.changed, queue.current_changed), self.changed.emit)
        self._case = None
        self._case_changed()

    @property
    def on(self) -> bool:
        """Whether decisions lead on to the next suggestion."""
        return self._on

    def start(self) -> None:
        """Go on with what waits: the suggestion at hand, else the next one."""
        if self.queue is None:
            return
        self._on = True
        item = self.queue.current
        if item is None or item.fate is not Fate.PENDING:
            item = self.queue.peek()
        if item is None:
            self._say_end()
        else:
            self.show(item)
        self.changed.emit()

    def stop(self) -> None:
        """Lead no more until it is started again."""
        self._on = False
        self.changed.emit()

    def step(self, by: int) -> None:
        """Show the next (1) or the previous (-1) suggestion that waits."""
        item = None if self.queue is None else self.queue.peek(by)
        if item is None:
            self._say_end()
        else:
            self.show(item)

    def decided(self) -> None:
        """Go on, where that is wanted."""
        if self.goes_on:
            self.step(1)

    def skip(self) -> None:
        """Leave the suggestion at hand for later and go on."""
        item = None if self.queue is None else self.queue.current
        if self.queue is None or item is None or item.fate is not Fate.PENDING:
            show_info("There is no suggestion at hand that waits.")
            return
        self.queue.skip(item.key)
        self.step(1)

    def leave_scan(self, at: int) -> None:
        """Skip all that waits in a scan: it cannot be opened."""
        if self.queue is not None:
            for item in self.queue.pending:
                if item.at == at:
                    self.queue.skip(item.key)

    def show(self, item: Suggestion) -> bool:
        """Open a suggestion's scan, where it is not open, and show the suggestion; tell whether it is shown."""
        queue = self.queue
        if queue is None:
            return False
        row = self._row_of(item) if self._is_ready(item.at) else None
        if row is None:
            if not self._go_to(item.at, item.row.key):
                return False
            row = self._row_of(item)
        queue.select(item.key)
        if row is None:
            show_info("The suggestion is no longer in its scan.")
            queue.skip(item.key)
            return False
        self._session.jump(row)
        return True

    @property
    def can_take_back(self) -> bool:
        """Whether there is an edit to take back."""
        return bool(self._done)

    def take_back(self) -> bool:
        """Take back the last edit that was made in the queue, in whichever scan; tell whether there was one."""
        if not self._done:
            return False
        action = self._done[-1]
        lesion = action.edits[0].row
        if action.at != self.at and not self._go_to(action.at, lesion.parent_id or lesion.id):
            return True
        case = self._session.case
        if case is not None:
            try:
                edit = case.annotations.take_back(action.edits)
            except AnnotationError as error:
                self._done.pop()
                show_info(f"It is not taken back: {error}")
                return True
            review.show_edit(self._session, edit, "undo")
        return True

    @property
    def next_entry(self) -> ScanEntry | None:
        """The next scan that something waits in."""
        at = None if self.queue is None else self.queue.next_scan()
        return None if self.queue is None or at is None else self.queue.entries[at]

    # -- the open scan --

    def _go_to(self, at: int, key: str) -> bool:
        if not self._open_scan(at, key) or self.at != at:
            return False
        self._is_own = True
        return True

    def _is_ready(self, at: int) -> bool:
        """Whether the open scan is this one, with its decisions where the queue keeps them."""
        return at == self.at and self.queue is not None and (self._is_own or self.queue.kept_in is None)

    def _row_of(self, item: Suggestion) -> Row | None:
        """The lesion in the open scan, which is shown from then on, however high its detector's threshold was."""
        case, finding = self._session.case, item.finding
        if case is None or self.queue is None:
            return None
        row = _find(case, item.row.key)
        if row is None and finding is not None and finding.detector in case.findings:
            case.detector = finding.detector
            case.threshold = min(case.threshold, self.queue.lowest(finding.detector))
            row = _find(case, item.row.key)
        return row

    def _case_changed(self) -> None:
        """Follow the scan that is open, wherever it was opened from."""
        self._case_links.release()
        self._action.clear()
        self._forget_given_up()
        case, queue = self._session.case, self.queue
        self._case, self._is_own = None, False
        self.at = None if self._cases is None else self._cases.find(case)
        if case is not None and queue is not None and self.at is not None and case.reading is None:
            self._case = case
            self._case_links.connect(case.edited, self._edited)
            self._case_links.connect(case.current_changed, self._follow)
            queue.update(self.at, case.annotations)
        self.changed.emit()

    def _forget_given_up(self) -> None:
        """What a person gave up when a scan was closed was not decided."""
        if self._case is not None and self.at is not None and self.queue is not None and self._case.annotations.unsaved:
            self._done = [action for action in self._done if action.at != self.at]
            self.queue.reread(self.at)

    def _edited(self, edit: Edit[Annotation]) -> None:
        self._action.append(edit)
        if not edit.is_last or self._case is None or self.at is None or self.queue is None:
            return
        edits, self._action = tuple(self._action), []
        if not edit.action.startswith(UNDO):
            self._done.append(_Action(self.at, edits))
        elif self._done and self._done[-1].at == self.at:
            self._done.pop()
        self.queue.update(self.at, self._case.annotations)

    def _follow(self) -> None:
        """Another lesion of the scan is at hand: where it is of the queue, that goes on from there."""
        row = None if self._case is None else self._case.current
        if row is not None and self.at is not None and self.queue is not None:
            item = self.queue.find((self.at, row.key))
            if item is not None:
                self.queue.select(item.key)

    def _say_end(self) -> None:
        counts = None if self.queue is None else self.queue.counts
        if counts is not None and counts.read < counts.scans:
            show_info("Nothing waits yet: scans are still being looked through.")
        else:
            show_info("Nothing else waits for a decision.")


def _find(case: Case, key: str) -> Row | None:
    """The row of a lesion, also where a surer finding has taken its place."""
    return case.row(key) or next((row for row in case.rows if key in {ref.id for ref in row.also}), None)
