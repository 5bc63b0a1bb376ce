"""The registered series of the open scan's study: which there are, which is shown, which are held."""

from collections.abc import Sequence

from psygnal import Signal

from napari_uld.ct.entries import ScanEntry
from napari_uld.ct.phases import off_grid, with_phases
from napari_uld.ct.reading import read_gradually
from napari_uld.ct.studies import in_order
from napari_uld.ct.volume import CTVolume
from napari_uld.errors import PhaseError
from napari_uld.progress import Progress, Work

# The key that shows the next one.
KEY = "B"
# Of the phases that were read besides the scan itself, so many are held: those that were shown last.
HELD = 2


class Phases:
    """The phases of a study, of which the scan that was opened is one.

    Parameters
    ----------
    volume
        The scan, whose lesions are told of.

    Attributes
    ----------
    entries
        All series that lie on its grid, in order of name; none until somebody looked (`offer`).
    shown
        The one that is shown.
    reading
        How far the one is that will be shown once it is read.
    """

    # Another one is shown.
    turned = Signal()

    def __init__(self, volume: CTVolume) -> None:
        self._own = self.shown = volume
        self._own_entry: ScanEntry | None = None
        self.entries: tuple[ScanEntry, ...] = ()
        self.reading: Progress | None = None
        self._at = 0
        self._held: dict[ScanEntry, CTVolume] = {}

    def offer(self, entry: ScanEntry, entries: Sequence[ScanEntry]) -> None:
        """Say which series there are, `entry` being the scan's own."""
        self.entries = tuple(entries)
        self._own_entry, self._at = entry, self.entries.index(entry)

    @property
    def following(self) -> ScanEntry | None:
        """The phase after the one that is shown, the first again after the last; None where there is but one."""
        return self.entries[(self._at + 1) % len(self.entries)] if len(self.entries) > 1 else None

    def held(self, entry: ScanEntry) -> CTVolume | None:
        """Give a phase that need not be read."""
        return self._own if entry == self._own_entry else self._held.get(entry)

    def show(self, entry: ScanEntry, volume: CTVolume) -> None:
        """Show a phase, and hold it.

        Raises
        ------
        PhaseError
            If it does not lie on the scan's grid.
        """
        self._require_on_grid(volume)
        if entry != self._own_entry:
            self._held.pop(entry, None)
            self._held[entry] = volume
            for oldest in list(self._held)[:-HELD]:
                del self._held[oldest]
        self._at, self.shown = self.entries.index(entry), volume
        self.turned.emit()

    def said(self) -> str:
        """Say in a line which phase is shown, by name if it is not the scan itself; "" where there is but one."""
        if len(self.entries) < 2:
            return ""
        shown, reading = self.entries[self._at], self.reading
        name = "" if shown == self._own_entry else f": {shown.name}"
        far = "" if reading is None else f"   ({reading.message}: {reading.done} of {reading.total} files)"
        return f"phase {self._at + 1} of {len(self.entries)} ({KEY}){name}{far}\n"

    def together(self, names: Sequence[str]) -> Work[CTVolume]:
        """Give the scan with the phases that a detector sees together; what is not held is read, and not held either.

        Raises
        ------
        PhaseError
            If the study has not all of them, or they do not lie on one grid.
        ScanError
            If one cannot be read.
        """
        chosen = in_order(self.entries, names)
        if not chosen:
            there = ", ".join(each.name for each in self.entries) or self._own.name
            raise PhaseError(
                f"The detector sees {len(names)} phases together ({', '.join(names)}). On the grid of {self._own.name} "
                f"there are {there}: open a study whose series' names say which is which, or name them with "
                "napari-uld detect --series"
            )
        read = []
        for entry in chosen:
            volume = self.held(entry)
            read.append(volume if volume is not None else (yield from read_phase(entry)))
        return with_phases(self._own, read)

    def _require_on_grid(self, volume: CTVolume) -> None:
        if difference := off_grid(self._own, volume):
            raise PhaseError(f"{volume.name} does not lie where {self._own.name} does: {difference}; open it by itself")


def read_phase(entry: ScanEntry) -> Work[CTVolume]:
    """Read a phase.

    Raises
    ------
    ScanError
        If it cannot be read.
    """
    reading = read_gradually(entry)
    while True:
        try:
            step = next(reading)
        except StopIteration as done:
            volume: CTVolume = done.value
            return volume
        yield Progress(step.done, step.total, f"reading {entry.name}")
