"""Small pictures of scans, made one after another in a thread, those that are looked at first."""

from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from threading import Lock
from time import sleep

import cv2
import numpy as np
from napari.qt.threading import GeneratorWorker, create_worker
from qtpy.QtCore import QObject, Signal

from napari_uld.ct import ScanEntry
from napari_uld.ct.reading import read_gradually
from napari_uld.ct.volume import CTVolume
from napari_uld.ct.windows import to_uint8
from napari_uld.errors import UldError
from napari_uld.viewer.layers.scan import DEFAULT_WINDOW
from napari_uld.viewer.panels.background import in_background

# Pixels along the longer side.
SIZE = 96
# Seconds after which it is looked again whether the disk is free.
PAUSE = 0.1


@dataclass(frozen=True, eq=False)
class Thumbnail:
    """A scan's picture, (y, x) uint8, or why there is none."""

    key: str
    picture: np.ndarray | None
    problem: str = ""


class Thumbnails(QObject):
    """Makes the pictures of one list of scans at a time.

    Parameters
    ----------
    parent
        Whose pictures they are.
    waits
        Whether what is more urgent is being read.
    """

    # A `Thumbnail`.
    made = Signal(object)

    def __init__(self, parent: QObject, waits: Callable[[], bool]) -> None:
        super().__init__(parent)
        self._waits = waits
        self._worker: GeneratorWorker | None = None
        self._queue = _Queue({})

    def begin(self, entries: Mapping[str, ScanEntry]) -> None:
        """Make the pictures of these scans, by what they are called."""
        self.end()
        self._queue = _Queue(entries)
        self._worker = create_worker(_make, self._queue, self._waits, _connect={"yielded": self._made})

    def prefer(self, keys: Iterable[str]) -> None:
        """Make these first."""
        self._queue.prefer(keys)

    def end(self) -> None:
        """Make no more."""
        self._queue.clear()
        self._queue = _Queue({})
        if self._worker is not None:
            self._worker.quit()
        self._worker = None

    def _made(self, made: tuple["_Queue", Thumbnail] | None) -> None:
        # What was on its way when another list came belongs to no scan of that.
        if made is not None and made[0] is self._queue:
            self.made.emit(made[1])


class _Queue:
    """Scans without a picture; taken from one thread, ordered from another."""

    def __init__(self, entries: Mapping[str, ScanEntry]) -> None:
        self._entries = dict(entries)
        self._first: list[str] = []
        self._lock = Lock()

    def prefer(self, keys: Iterable[str]) -> None:
        with self._lock:
            self._first = [key for key in keys if key in self._entries]

    def clear(self) -> None:
        with self._lock:
            self._entries.clear()

    def take(self) -> tuple[str, ScanEntry] | None:
        with self._lock:
            key = next((key for key in self._first if key in self._entries), next(iter(self._entries), None))
            return None if key is None else (key, self._entries.pop(key))


def _make(queue: _Queue, waits: Callable[[], bool]) -> Generator[tuple[_Queue, Thumbnail] | None, None, None]:
    """Take scans until there are no more; where nothing is given, it is only looked whether to go on."""
    with in_background():
        while True:
            while waits():
                sleep(PAUSE)
                yield None
            taken = queue.take()
            if taken is None:
                return
            key, entry = taken
            try:
                yield queue, Thumbnail(key, thumbnail_of(entry))
            except (UldError, OSError, MemoryError) as error:
                yield queue, Thumbnail(key, None, str(error))


def thumbnail_of(entry: ScanEntry) -> np.ndarray:
    """Give a scan's middle slice in its window, (y, x) uint8, the longer side `SIZE` pixels.

    Where the first slice can be shown before the others are read, they are not read.

    Raises
    ------
    ScanError
        If it cannot be read.
    """
    volume, z = _middle_of(entry)
    grey = to_uint8(volume.hu[z], volume.window or DEFAULT_WINDOW)
    height, width = (size * pixel for size, pixel in zip(grey.shape, volume.spacing[1:], strict=True))
    scale = SIZE / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.ascontiguousarray(cv2.resize(grey, size, interpolation=cv2.INTER_AREA))


def _middle_of(entry: ScanEntry) -> tuple[CTVolume, int]:
    if entry.kind == "deeplesion":
        # Its slices are files by themselves, each whole.
        entry = replace(entry, files=entry.files[len(entry.files) // 2 :][:1], slices=1)
    with closing(read_gradually(entry)) as reading:
        while True:
            try:
                step = next(reading)
            except StopIteration as done:
                volume: CTVolume = done.value
                return volume, len(volume.hu) // 2
            if step.volume is not None and step.arrived:
                return step.volume, step.arrived[0]
