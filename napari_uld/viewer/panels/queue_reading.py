"""The files of a queue's scans, read in a thread."""

from collections.abc import Iterator

from napari.qt.threading import WorkerBase, create_worker
from qtpy.QtCore import QObject, Signal

from napari_uld.viewer.panels.background import in_background
from napari_uld.viewer.state.queue import Queue, ReadScan


class QueueReading(QObject):
    """One queue at a time; what comes of one that is no longer asked for is dropped."""

    finished = Signal()

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self._worker: WorkerBase | None = None
        self._queue: Queue | None = None

    @property
    def running(self) -> bool:
        """Whether scans are being looked through."""
        return self._queue is not None

    def begin(self, queue: Queue) -> None:
        """Have a queue take up one scan after the other."""
        self.end()
        self._queue = queue

        def take(read: tuple[int, ReadScan]) -> None:
            if self._queue is queue:
                queue.take(*read)

        def finish() -> None:
            if self._queue is queue:
                self._queue = self._worker = None
                self.finished.emit()

        self._worker = create_worker(_read, queue, _connect={"yielded": take, "finished": finish})

    def end(self) -> None:
        """Take up no more."""
        self._queue = None
        if self._worker is not None:
            self._worker.quit()
        self._worker = None


def _read(queue: Queue) -> Iterator[tuple[int, ReadScan]]:
    with in_background():
        yield from queue.read()
