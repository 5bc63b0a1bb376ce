"""The queue: what detectors suggest on a whole folder of scans, one after the other, whichever scan it lies in."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
from psygnal import Signal

from napari_uld.ct.entries import ScanEntry
from napari_uld.lesions.annotations import Annotations
from napari_uld.lesions.beside import FilesBeside, Mirror
from napari_uld.lesions.findings import DEFAULT_THRESHOLD, Findings
from napari_uld.viewer.state.beside import without_slices
from napari_uld.viewer.state.found import FindingRef
from napari_uld.viewer.state.rows import Mark, Row, rows_of

# What a queue may be ordered by beside a column of scores.
BY_SCAN, BY_SCORE = "scan", "score"
# A suggestion's scan, by its place in the queue, and the key of its row when that scan is open.
Key = tuple[int, str]


class Asked(StrEnum):
    """What a queue goes through."""

    # What detectors found.
    SUGGESTIONS = "suggestions"
    # What was mined as no lesion.
    NEGATIVES = "hard negatives"
    # Lesions of which people's merged files differ: their comments have what each says.
    CONFLICTS = "conflicts"


class Fate(StrEnum):
    """What became of a suggestion."""

    PENDING = "pending"
    ACCEPTED = "accepted"
    REJECTED = "rejected"
    SKIPPED = "skipped"


@dataclass(frozen=True, eq=False)
class Suggestion:
    """One lesion that a detector suggests.

    Parameters
    ----------
    at
        Place of its scan among the queue's.
    entry
        What that scan is read from.
    row
        The lesion as a review of the scan lists it. Nobody read the scan: its diameter is none in mm.
    finding
        What was found: the surest finding of it. None where a person marked it.
    fate
        What became of it.
    """

    at: int
    entry: ScanEntry
    row: Row
    finding: FindingRef | None
    fate: Fate

    @property
    def key(self) -> Key:
        """What tells it from all others of the queue."""
        return self.at, self.row.key

    @property
    def scores(self) -> Mapping[str, float]:
        """All scores of the finding by name: `BY_SCORE`, its detector's, and those of its columns."""
        return {} if self.finding is None else {BY_SCORE: self.finding.score, **self.finding.columns}


@dataclass(frozen=True)
class QueueCounts:
    """How far a queue is: suggestions by their fate, scans that were read, and scans in all."""

    pending: int
    accepted: int
    rejected: int
    skipped: int
    read: int
    scans: int

    @property
    def total(self) -> int:
        """All suggestions of the scans that were read."""
        return self.pending + self.accepted + self.rejected + self.skipped


@dataclass(frozen=True, eq=False)
class ReadScan:
    """What the files beside a scan say: its findings, and its annotations."""

    findings: tuple[Findings, ...] = ()
    annotations: Annotations | None = None


class Queue:
    """The suggestions of the scans of a folder; one that a person skipped stays skipped until the queue is made anew.

    Parameters
    ----------
    entries
        The scans, in their order.
    mirror
        Where more of their files lie: suggestions of scans that nothing may be written beside, or mined negatives.
    asked
        What to go through.
    least
        Score from which on suggestions wait; None for each detector's operating point. Mined negatives all wait.
    """

    changed = Signal()
    current_changed = Signal()

    def __init__(
        self,
        entries: Sequence[ScanEntry],
        *,
        mirror: Mirror | None = None,
        asked: Asked = Asked.SUGGESTIONS,
        least: float | None = None,
    ) -> None:
        self.entries = tuple(entries)
        self.asked = asked
        self._mirror, self._beside = mirror, FilesBeside(mirror)
        self._least = least
        self._order = BY_SCAN
        self._scans: dict[int, ReadScan] = {}
        # The scans of which decisions were told that may not be saved yet.
        self._told: set[int] = set()
        self._suggestions: dict[int, list[Suggestion]] = {}
        self._skipped: set[Key] = set()
        # Lesions that waited with a comment when they were read first: once decided on, nothing else tells them.
        self._conflicts: set[Key] = set()
        self._current: Key | None = None
        self._items: tuple[Suggestion, ...] | None = None

    def read(self) -> Iterator[tuple[int, ReadScan]]:
        """Read the files of one scan after the other; nothing of the queue changes, so that this may run anywhere.

        Yields
        ------
        The scan's place, and what `take` takes.
        """
        for at in range(len(self.entries)):
            yield at, self._read(at)

    def reread(self, at: int) -> None:
        """Read the files of one scan again, which somebody else may have written."""
        self._told.discard(at)
        self._beside.list_again()
        self.take(at, self._read(at))

    def take(self, at: int, scan: ReadScan) -> None:
        """Take up what was read of a scan; of decisions those that were told meanwhile stay."""
        self._have(at, replace(scan, annotations=self._scans[at].annotations) if at in self._told else scan)

    def update(self, at: int, annotations: Annotations) -> None:
        """Take up what is decided on the open scan, saved or not."""
        self._told.add(at)
        self._have(at, replace(self._scans.get(at, ReadScan()), annotations=annotations))

    @property
    def kept_in(self) -> Mirror | None:
        """Where decisions are saved, None for beside the scans: decisions on hard negatives hold for other runs too."""
        return None if self.asked is Asked.NEGATIVES else self._mirror

    def findings(self, at: int) -> tuple[Findings, ...]:
        """Give what was found in a scan, as a person sees it who goes through the queue."""
        return self._scans[at].findings if at in self._scans else ()

    def lowest(self, detector: str) -> float:
        """Give the lowest score of a detector that is in the queue, 1 where none is."""
        refs = (ref for item in self.items if item.finding is not None for ref in (item.finding, *item.row.also))
        return min((ref.score for ref in refs if ref.detector == detector), default=1.0)

    @property
    def least(self) -> float | None:
        """Score from which on suggestions wait; None for each detector's operating point."""
        return self._least

    @least.setter
    def least(self, least: float | None) -> None:
        if least != self._least:
            self._least = least
            for at, scan in self._scans.items():
                self._suggest(at, scan)
            self._refresh()

    @property
    def order(self) -> str:
        """What the queue is ordered by: `BY_SCAN`, or a score, the highest first (one of `scores`)."""
        return self._order

    @order.setter
    def order(self, order: str) -> None:
        if order != self._order:
            self._order = order
            self._refresh()

    @property
    def scores(self) -> tuple[str, ...]:
        """Names of the scores that suggestions have."""
        names = {name for item in self.items for name in item.scores}
        return (BY_SCORE, *sorted(names - {BY_SCORE}))

    @property
    def items(self) -> tuple[Suggestion, ...]:
        """All suggestions of the scans that were read, in order."""
        if self._items is None:
            items = [item for at in sorted(self._suggestions) for item in self._suggestions[at]]
            if self._order != BY_SCAN:
                # Those without this score come last; a stable sort keeps scans together otherwise.
                items.sort(key=lambda item: -item.scores.get(self._order, -np.inf))
            self._items = tuple(items)
        return self._items

    @property
    def pending(self) -> tuple[Suggestion, ...]:
        """The suggestions that wait for a decision, in order."""
        return tuple(item for item in self.items if item.fate is Fate.PENDING)

    @property
    def counts(self) -> QueueCounts:
        """How far it is."""
        fates = Counter(item.fate for item in self.items)
        return QueueCounts(**{fate.value: fates[fate] for fate in Fate}, read=len(self._scans), scans=len(self.entries))

    def by_scan(self) -> dict[int, Counter[Fate]]:
        """Count the suggestions of each scan that has some by their fate."""
        found = ((at, self._suggestions[at]) for at in sorted(self._suggestions))
        return {at: Counter(item.fate for item in items) for at, items in found if items}

    @property
    def current(self) -> Suggestion | None:
        """The suggestion at hand."""
        return self.find(self._current)

    def find(self, key: Key | None) -> Suggestion | None:
        """Give the suggestion with this key, or None."""
        return next((item for item in self.items if item.key == key), None)

    def select(self, key: Key | None) -> None:
        """Take a suggestion in hand (None: none)."""
        if key != self._current:
            self._current = key
            self.current_changed.emit()

    def peek(self, by: int = 1, *, pending_only: bool = True) -> Suggestion | None:
        """Give the next (`by` = 1) or previous (-1) suggestion after the one at hand, which is not taken in hand.

        At the end it goes on from the beginning: more may have come before. None where no other one is asked for.
        """
        items = self.items
        here = next((i for i, item in enumerate(items) if item.key == self._current), -1 if by > 0 else 0)
        around = (items[(here + by * step) % len(items)] for step in range(1, len(items) + 1))
        wanted = (item for item in around if item.key != self._current)
        return next((item for item in wanted if not pending_only or item.fate is Fate.PENDING), None)

    def next_scan(self) -> int | None:
        """Give the scan, other than that of the suggestion at hand, that stepping leads to next."""
        items, here = self.items, self.current
        start = 0 if here is None else items.index(here)
        around = (*items[start:], *items[:start])
        others = (item.at for item in around if item.fate is Fate.PENDING and (here is None or item.at != here.at))
        return next(others, None)

    def step(self, by: int = 1, *, pending_only: bool = True) -> Suggestion | None:
        """Take in hand what `peek` gives; where that is None the one at hand stays."""
        found = self.peek(by, pending_only=pending_only)
        if found is not None:
            self.select(found.key)
        return found

    def skip(self, key: Key, skipped: bool = True) -> None:
        """Leave a suggestion for later, or have it wait again."""
        (self._skipped.add if skipped else self._skipped.discard)(key)
        at = key[0]
        self._suggestions[at] = [replace(item, fate=self._fate(at, item.row)) for item in self._suggestions[at]]
        self._refresh()

    def _read(self, at: int) -> ReadScan:
        entry = self.entries[at]
        annotations = self._beside.annotations(entry)
        found = self._beside.findings(entry, None if annotations is None else annotations.scan_id).values()
        return ReadScan(tuple(filter(len, map(self._wanted, found))), annotations)

    def _wanted(self, findings: Findings) -> Findings:
        """What of a file is gone through; what was mined as no lesion is shown like any other suggestion then."""
        if self.asked is not Asked.NEGATIVES:
            return findings
        mined = findings.take(findings.negative)
        return replace(mined, negative=np.zeros(len(mined), bool))

    def _threshold(self, findings: Findings) -> float:
        if self.asked is Asked.NEGATIVES:
            return -np.inf
        if self._least is not None:
            return self._least
        return DEFAULT_THRESHOLD if findings.operating_point is None else findings.operating_point

    def _have(self, at: int, scan: ReadScan) -> None:
        self._scans[at] = scan
        self._suggest(at, scan)
        self._refresh()

    def _suggest(self, at: int, scan: ReadScan) -> None:
        entry, rows = self.entries[at], _rows_of(self.entries[at], scan, self._threshold)
        if self.asked is Asked.CONFLICTS:
            waiting = (row for row in rows if row.annotation is not None and row.mark is Mark.PENDING and row.comment)
            self._conflicts |= {(at, row.key) for row in waiting}
            rows = tuple(row for row in rows if (at, row.key) in self._conflicts)
        else:
            rows = tuple(row for row in rows if row.finding is not None)
        self._suggestions[at] = [
            Suggestion(at, entry, row, row.finding, self._fate(at, row)) for row in rows if _holds(entry, row.native)
        ]

    def _fate(self, at: int, row: Row) -> Fate:
        fate = {Mark.PENDING: Fate.PENDING, Mark.REJECTED: Fate.REJECTED}.get(row.mark, Fate.ACCEPTED)
        return Fate.SKIPPED if fate is Fate.PENDING and (at, row.key) in self._skipped else fate

    def _refresh(self) -> None:
        self._items = None
        self.changed.emit()


def _rows_of(entry: ScanEntry, scan: ReadScan, threshold: Callable[[Findings], float]) -> tuple[Row, ...]:
    """The rows of a scan's review, as far as its files tell them."""
    annotations = scan.annotations
    if annotations is None:
        if not scan.findings:
            return ()
        annotations = Annotations(scan.findings[0].scan_id)
    return rows_of(without_slices(entry, annotations.scan_id), annotations, scan.findings, threshold)


def _holds(entry: ScanEntry, native: int) -> bool:
    """Whether a scan has a slice: a DeepLesion series of which slices lack is several scans that share their files."""
    return entry.kind != "deeplesion" or entry.path / f"{native:03d}.png" in entry.files
