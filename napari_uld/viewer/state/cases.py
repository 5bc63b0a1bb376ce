"""The scans of a folder as a list to work through: what is known of each, which is shown, which comes next."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path, PurePosixPath
from time import time

from psygnal import Signal

from napari_uld.ct.entries import ScanEntry
from napari_uld.errors import CaseListError
from napari_uld.lesions.annotations import now
from napari_uld.viewer.state.beside import Beside
from napari_uld.viewer.state.case import Case, Counts
from napari_uld.viewer.state.case_store import CaseStore, Folder, Known


class Which(StrEnum):
    """Which scans are listed."""

    ALL = "all"
    TO_DO = "to do"
    DONE = "done"


@dataclass(frozen=True)
class Scan:
    """One scan of the list.

    Parameters
    ----------
    entry
        Where it is read from.
    key
        What it is called where what is known is kept; it stays the same from one day to the next.
    where
        The folder that it lies in, as seen from the list's; of a DICOM series its own.
    counts
        How far its review is, or None where nothing is known.
    done
        Whether the person marked it as done.
    opened
        When it was opened last, ISO 8601, or "".
    """

    entry: ScanEntry
    key: str
    where: str
    counts: Counts | None = None
    done: bool = False
    opened: str = ""

    def said(self) -> str:
        """Say how far its review is."""
        counts = self.counts
        if counts is None or not (counts.annotated or counts.found):
            return "no lesions yet" if self.opened else "not opened yet"
        said = [f"{counts.annotated} annotated"] if counts.annotated else []
        if counts.found:
            said.append(f"{counts.decided} of {counts.found} decided")
        return ", ".join(said)


class CaseList:
    """The scans of one folder.

    Parameters
    ----------
    root
        The folder.
    entries
        Its scans.
    store
        Where what is known of them is kept.
    warn
        Tells a person, once, that it cannot be kept.
    """

    # With the place of the scan of which something else is known now.
    changed = Signal(int)

    def __init__(self, root: Path, entries: Sequence[ScanEntry], store: CaseStore, warn: Callable[[str], None]) -> None:
        self.root = root
        self._store, self._warn, self._keeps = store, warn, True
        if store.damage:
            warn(store.damage)
        try:
            folder = store.folder(root)
            store.look_through(root)
        except CaseListError as error:
            folder = Folder()
            self._cannot_keep(error)
        # By place, not by name: those of one patient lie together.
        entries = sorted(entries, key=lambda entry: (_place(root, entry), entry.name))
        keys = _keys(root, entries)
        self._counted_here: set[int] = set()
        self._known = [folder.scans.get(key, Known()) for key in keys]
        self.scans = [
            Scan(entry, key, _folder(root, entry), known.counts, known.done, known.opened)
            for entry, key, known in zip(entries, keys, self._known, strict=True)
        ]
        # Where the scan stands that was opened last, whenever that was.
        self.last = keys.index(folder.last) if folder.last in keys else None

    def find(self, case: Case | None) -> int | None:
        """Give the place of an open scan, or None where it is not of this list."""
        entry = None if case is None else case.entry
        if entry is None:
            return None
        wanted = _identity(entry)
        # Most are told apart without asking the disk.
        alike = (i for i, scan in enumerate(self.scans) if _likeness(scan.entry) == _likeness(entry))
        return next((i for i in alike if _identity(self.scans[i].entry) == wanted), None)

    def shows(self, at: int, text: str, which: Which) -> bool:
        """Tell whether a scan is asked for: its name, place and note hold every word of a text."""
        scan = self.scans[at]
        known = f"{scan.entry.name} {scan.entry.path.name} {scan.where} {scan.entry.note}".casefold()
        asked = which is Which.ALL or scan.done == (which is Which.DONE)
        return asked and all(word in known for word in text.casefold().split())

    def step(self, at: int | None, by: int, shown: Sequence[int]) -> int | None:
        """Give the place of the next (`by` = 1) or previous (-1) of the scans that are shown, None at the end.

        From a scan that is not shown itself, say because it was just done, it goes on from where that would stand;
        from none, with the first or the last.
        """
        if at is None:
            return next(iter(shown if by > 0 else reversed(shown)), None)
        if by > 0:
            return next((i for i in shown if i > at), None)
        return next((i for i in reversed(shown) if i < at), None)

    def count_from_files(self, beside: Beside) -> Iterator[tuple[int, Counts]]:
        """Count those scans that were never counted here or whose files changed since; nothing of the list changes."""
        for i, (scan, known) in enumerate(zip(list(self.scans), self._known, strict=True)):
            changed = beside.changed(scan.entry)
            counts = beside.counts(scan.entry) if changed > known.counted else None
            if counts is not None:
                yield i, counts

    def take_counts(self, at: int, counts: Counts) -> None:
        """Show what files tell of a scan, unless it was open meanwhile."""
        if at not in self._counted_here:
            self._replace(at, counts=counts)

    def open(self, at: int) -> None:
        """A scan is opened now; it is written down with how far it is."""
        self.last = at
        self._replace(at, opened=now())

    def count(self, at: int, counts: Counts) -> None:
        """Write down how far the review of the open scan is, and that it was opened."""
        self._counted_here.add(at)
        self._replace(at, counts=counts)
        scan = self.scans[at]
        far = {"annotated": counts.annotated, "found": counts.found, "decided": counts.decided, "counted": time()}
        self._keep(lambda: self._store.update(self.root, scan.key, is_last=True, opened=scan.opened, **far))

    def mark_done(self, at: int, done: bool) -> None:
        """Write down whether a scan is done."""
        self._keep(lambda: self._store.update(self.root, self.scans[at].key, done=done))
        self._replace(at, done=done)

    def _replace(self, at: int, **changes: object) -> None:
        scan = replace(self.scans[at], **changes)  # type: ignore[arg-type]
        if scan != self.scans[at]:
            self.scans[at] = scan
            self.changed.emit(at)

    def _keep(self, write: Callable[[], None]) -> None:
        try:
            write()
        except CaseListError as error:
            self._cannot_keep(error)

    def _cannot_keep(self, error: CaseListError) -> None:
        if self._keeps:
            self._keeps = False
            self._warn(f"The list of scans is not kept: {error}")


def _place(root: Path, entry: ScanEntry) -> str:
    """Where a scan lies, as seen from the folder of the list."""
    return (entry.path.relative_to(root) if entry.path.is_relative_to(root) else entry.path).as_posix()


def _folder(root: Path, entry: ScanEntry) -> str:
    # Other scans are called as their own file or folder.
    place = PurePosixPath(_place(root, entry))
    folder = place if entry.kind == "dicom" else place.parent
    return "" if folder == PurePosixPath() else str(folder)


def _keys(root: Path, entries: Sequence[ScanEntry]) -> list[str]:
    """Name scans by where they lie and what tells them from others there: their UID, else the run of a series."""
    keys, times = [], Counter[str]()
    for entry in entries:
        own = " ".join(filter(None, (entry.series_uid, entry.label)))
        key = f"{_place(root, entry)}#{own or (entry.name if entry.kind in ('deeplesion', 'dicom') else '')}"
        times[key] += 1
        keys.append(key if times[key] == 1 else f"{key} {times[key]}")
    return keys


def _likeness(entry: ScanEntry) -> tuple[object, ...]:
    return entry.series_uid, entry.label, entry.slices, len(entry.files), entry.path.name


def _identity(entry: ScanEntry) -> tuple[Path, ...]:
    """What is the same of one scan, and of none that is like it, whichever folder it was found from."""
    return entry.path.resolve(), entry.files[0].resolve()
