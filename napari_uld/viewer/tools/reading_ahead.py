"""The scan that is likely to be opened next, read in a thread while the one before it is looked at."""

from contextlib import closing
from pathlib import Path
from threading import Event, Thread

from napari_uld.ct import ScanEntry
from napari_uld.ct.reading import read_gradually
from napari_uld.ct.volume import CTVolume
from napari_uld.errors import UldError

# Seconds to wait for a scan that is nearly there.
PATIENCE = 0.25


class ReadAhead:
    """Holds one scan at most, read or being read; nothing is written, and what goes wrong is nobody's business yet."""

    def __init__(self) -> None:
        self._asked: _Asked | None = None

    @property
    def busy(self) -> bool:
        """Whether a scan is being read."""
        return self._asked is not None and self._asked.is_alive()

    def ask(self, entry: ScanEntry | None) -> None:
        """Read a scan ahead (None: none); another one is dropped."""
        before = self._asked
        if before is not None and before.entry == entry:
            return
        if before is not None:
            before.cancelled.set()
        self._asked = None if entry is None else _Asked(entry, before)
        if self._asked is not None:
            self._asked.start()

    def take(self, entry: ScanEntry) -> CTVolume | None:
        """Give a scan that was read ahead; None where it is not there, could not be read or has changed since."""
        asked = self._asked
        if asked is None or asked.entry != entry:
            return None
        self._asked = None
        asked.join(PATIENCE)
        # What is not there yet is better seen as it is read.
        asked.cancelled.set()
        # Headers that were looked at before are of files as they were then, and so is the volume.
        return asked.volume if not asked.is_alive() and asked.stamps == _stamps(entry) else None


class _Asked(Thread):
    """One scan, read in a thread, after the one before it has let its own go."""

    def __init__(self, entry: ScanEntry, before: "_Asked | None") -> None:
        super().__init__(name="reading ahead", daemon=True)
        self.entry = entry
        self.cancelled = Event()
        self.volume: CTVolume | None = None
        self.stamps: tuple[tuple[int, int], ...] = ()
        self._before = before

    def run(self) -> None:
        """Read, unless or until it is cancelled."""
        before, self._before = self._before, None
        if before is not None:
            before.join()
            del before
        try:
            self.stamps = _stamps(self.entry)
            self._read()
        except (UldError, OSError, MemoryError):
            # Said when the scan is opened: it is read again then.
            self.volume = None

    def _read(self) -> None:
        with closing(read_gradually(self.entry)) as reading:
            while not self.cancelled.is_set():
                try:
                    next(reading)
                except StopIteration as done:
                    volume: CTVolume = done.value
                    # A hash of the pixels, where there is no UID: it takes a while, and the volume keeps it.
                    _ = volume.scan_id
                    self.volume = None if self.cancelled.is_set() else volume
                    return


def _stamps(entry: ScanEntry) -> tuple[tuple[int, int], ...]:
    """What tells that files changed: sizes and times; nothing where one is gone."""
    try:
        return tuple(_stamp(file) for file in entry.files)
    except OSError:
        return ()


def _stamp(file: Path) -> tuple[int, int]:
    stat = file.stat()
    return stat.st_size, stat.st_mtime_ns
