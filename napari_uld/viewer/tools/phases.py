"""The phases of a study, shown one in the place of the other: slice, zoom, window and lesions stay."""

from collections.abc import Callable
from contextlib import closing
from threading import Event, Thread

from napari.layers import Image
from napari.utils.notifications import show_error, show_info

from napari_uld.ct.entries import ScanEntry
from napari_uld.ct.volume import CTVolume
from napari_uld.errors import PhaseError, UldError
from napari_uld.progress import Progress
from napari_uld.viewer.layers.parts import Part
from napari_uld.viewer.layers.scan import limit, slider_range
from napari_uld.viewer.session import Session
from napari_uld.viewer.state.case import Case
from napari_uld.viewer.state.phases import read_phase

# Seconds between two looks at how far a phase is read.
OFTEN = 0.2


class PhaseSwitch:
    """Shows the next phase of the open scan's study; one that is not held is read in a thread before.

    Parameters
    ----------
    session
        The session whose scan it is.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._reader: _Reader | None = None
        self._end: Callable[[], object] = lambda: None
        session.phase_wanted.connect(self.turn)
        session.case_changed.connect(self.stop)
        session.closed.connect(self.stop)

    def turn(self) -> None:
        """Show the next phase, once it is there."""
        case = self._session.case
        if case is None or case.reading is not None or self._reader is not None:
            return
        entry = case.phases.following
        if entry is None:
            show_info("No other series of its study is known to lie where this scan does.")
            return
        held = case.phases.held(entry)
        if held is None:
            self._read(case, entry)
        else:
            self._show(case, entry, held)

    def stop(self) -> None:
        """Read no further."""
        self._end()
        self._end = lambda: None
        if self._reader is not None:
            self._reader.cancelled.set()
            self._reader = None

    def _read(self, case: Case, entry: ScanEntry) -> None:
        reader = self._reader = _Reader(entry)
        reader.start()
        if not self._session.in_window:
            reader.join()
        # What else a person does in the meantime stops nothing.
        self._end = self._session.every(OFTEN, lambda: self._look(case, reader), lambda: None)
        self._look(case, reader)

    def _look(self, case: Case, reader: "_Reader") -> None:
        if self._reader is not reader:
            return
        if reader.is_alive():
            case.phases.reading = reader.step
            self._session.show_caption()
            return
        self.stop()
        case.phases.reading = None
        if reader.volume is None:
            self._session.show_caption()
            show_error(f"The phase {reader.entry.name} cannot be shown: {reader.error}")
        else:
            self._show(case, reader.entry, reader.volume)

    def _show(self, case: Case, entry: ScanEntry, volume: CTVolume) -> None:
        try:
            case.phases.show(entry, volume)
        except PhaseError as error:
            show_error(f"This phase is not shown: {error}")
        ct = self._session.layer(Part.CT)
        if isinstance(ct, Image) and ct.data is not case.phases.shown.hu:
            ct.data, ct.name = case.phases.shown.hu, f"{Part.CT} {case.phases.shown.name}"
            (low, high), (lowest, highest) = ct.contrast_limits, slider_range(case)
            limit(ct, min(low, lowest), max(high, highest))
        self._session.show_caption()


class _Reader(Thread):
    """One phase, read in a thread."""

    def __init__(self, entry: ScanEntry) -> None:
        super().__init__(name="reading a phase", daemon=True)
        self.entry = entry
        self.cancelled = Event()
        self.step = Progress(0, len(entry.files), f"reading {entry.name}")
        self.volume: CTVolume | None = None
        self.error: Exception | None = None

    def run(self) -> None:
        """Read, unless or until it is cancelled."""
        try:
            with closing(read_phase(self.entry)) as reading:
                while not self.cancelled.is_set():
                    self.step = next(reading)
        except StopIteration as done:
            # It takes a while, and the volume keeps it.
            _ = done.value.hu_range
            self.volume = done.value
        except (UldError, OSError, MemoryError) as error:
            self.error = error
