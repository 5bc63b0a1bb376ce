"""Opening a scan in a window: shown while it is read, decided on once all of it is there."""

import time
from collections.abc import Callable, Sequence

from napari.utils.notifications import show_warning
from qtpy.QtWidgets import QApplication

from napari_uld.ct import CTVolume, Filling, ScanEntry, read_gradually
from napari_uld.ct.studies import of_study
from napari_uld.lesions.annotations import Annotations
from napari_uld.viewer.layers.parts import Part
from napari_uld.viewer.panels.docking import show_review
from napari_uld.viewer.session import Session
from napari_uld.viewer.state.case import Case
from napari_uld.viewer.state.files import open_case

# What is read within this time (seconds) is shown at once; what takes longer, or will, is shown as it arrives.
AT_ONCE = 0.2
# The first files say how long all will take: many times as long as that is long without a doubt.
SURELY = 3
# Seconds between two looks at what has arrived.
OFTEN = 0.15


def open_entry(
    session: Session,
    entry: ScanEntry,
    volume: CTVolume | None = None,
    opened: Callable[[CTVolume], tuple[Case, Sequence[str]]] = open_case,
    among: Sequence[ScanEntry] = (),
) -> None:
    """Open a scan in place of the one that is open, and show its slices while the others are read.

    Where the person closes it meanwhile, it stays closed.

    Parameters
    ----------
    volume
        The scan, where it was read before.
    opened
        Gives the case of the scan, and what a person should be told about it.
    among
        What else was found where it was: the other phases of its study may be there.

    Raises
    ------
    UldError
        If it cannot be read, or its annotations cannot; then the one that was open stays.
    """
    preview = _Preview(session)
    session.opening = True
    try:
        volume = preview.read(entry) if volume is None else volume
        if volume is None:
            return
        case, notes = opened(volume)
    except BaseException:
        preview.take_away()
        raise
    finally:
        session.opening = False
    case.entry, case.files = entry, frozenset(file.resolve() for file in entry.files)
    case.phases.offer(entry, of_study(entry, among))
    moved = preview.moved
    session.open(case)
    # A person is heard before what follows.
    QApplication.processEvents()
    if session.case is not case:
        return
    # A queue has its own buttons in front.
    show_review(behind=session.walk is not None and session.walk.on)
    # Of a scan without lesions nothing is to be shown but what is shown already.
    if not moved and (case.rows or not preview.shown):
        session.arrange()
    say_notes(case, notes)
    session.later(session.offer_restore)


def say_notes(case: Case, notes: Sequence[str]) -> None:
    """Tell a person what is to be known of a scan that was opened."""
    for note in notes:
        show_warning(f"{note}. This is about {case.volume.name}")


class _Preview:
    """What is there of a scan while it is read."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._before = session.case
        self._case: Case | None = None
        self._stood: tuple[object, ...] = ()

    @property
    def shown(self) -> bool:
        """Whether the scan was shown before all of it was there."""
        return self._case is not None

    @property
    def moved(self) -> bool:
        """Whether the person has looked around already."""
        return self._case is not None and self._place() != self._stood

    @property
    def _was_closed(self) -> bool:
        return self._case is not None and self._session.case is not self._case

    def read(self, entry: ScanEntry) -> CTVolume | None:
        """Read a scan; None where it was closed before all of it was there."""
        reading, began = read_gradually(entry), time.monotonic()
        looked: float | None = None
        while True:
            try:
                step = next(reading)
            except StopIteration as done:
                volume: CTVolume = done.value
                return None if self._was_closed else volume
            now = time.monotonic()
            due = _takes_long(step, now - began) if looked is None else now - looked >= OFTEN
            if due and step.volume is not None:
                self._show(step.volume, step)
                looked = time.monotonic()
            QApplication.processEvents()
            if self._was_closed:
                reading.close()
                return None

    def take_away(self) -> None:
        """Show what was open before."""
        session = self._session
        if self._case is None or self._was_closed:
            return
        ct = session.layer(Part.CT)
        if self._before is not None:
            session.open(self._before)
            session.arrange()
        elif ct is not None:
            session.viewer.layers.remove(ct)

    def _show(self, volume: CTVolume, step: Filling) -> None:
        session = self._session
        if self._case is None:
            self._case = Case(volume, Annotations(volume.scan_id), volume.source)
            self._case.reading = (step.done, step.total)
            # A person is heard in between, but sees nothing of the new scan where the old one stood.
            with session.still():
                session.open(self._case)
                QApplication.processEvents()
                if self._was_closed:
                    return
                session.arrange()
            self._stood = self._place()
        session.fill(step.done, step.total)

    def _place(self) -> tuple[object, ...]:
        dims, camera = self._session.viewer.dims, self._session.viewer.scene.camera
        return dims.point, dims.order, dims.ndisplay, camera.zoom


def _takes_long(step: Filling, taken: float) -> bool:
    """Tell from how far a scan is read after some seconds whether it is to be shown before all of it is there."""
    return taken >= AT_ONCE or (step.done > 0 and taken / step.done * step.total > SURELY * AT_ONCE)
