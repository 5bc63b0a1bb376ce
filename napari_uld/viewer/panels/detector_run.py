"""A panel's work in a detector's process: followed from a thread, shown, cancelled, ended with the panel."""

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from threading import Event
from typing import Any, Protocol

from napari.qt.threading import GeneratorWorker, create_worker
from napari.utils import progress
from qtpy.QtCore import QObject, Signal

from napari_uld.errors import CancelledError, UldError, WorkerError
from napari_uld.progress import Progress, Work


class Process(Protocol):
    """A detector's process as far as it is ended here."""

    def cancel(self) -> None:
        """Stop the run in progress; from any thread."""

    def close(self) -> None:
        """End the process."""


@dataclass(frozen=True)
class Outcome:
    """How a run ended: with a result, with an error, or (neither) cancelled."""

    result: Any = None
    error: UldError | None = None


class DetectorRun(QObject):
    """One run at a time in a detector's process.

    Parameters
    ----------
    panel
        The panel whose run it is.
    process
        The detector's process.
    """

    # What it is doing, for a person to read.
    said = Signal(str)
    # An `Outcome`.
    returned = Signal(object)
    finished = Signal()

    def __init__(self, panel: QObject, process: Process) -> None:
        super().__init__(panel)
        self._process = process
        self._worker: GeneratorWorker | None = None
        self._bar: Any = None
        self._cancelled = Event()
        self._ended = False

    @property
    def running(self) -> bool:
        """Whether a run is in progress."""
        return self._worker is not None

    def start(self, description: str, work: Callable[[], Work[Any]]) -> None:
        """Run `work`, which asks the process, in a thread."""
        self._bar = progress(total=0, desc=description)
        self._cancelled.clear()
        self._worker = create_worker(
            _followed,
            work,
            self._cancelled,
            self._process.cancel,
            # Of what comes once the panel is deleted Qt lets methods of its parts hear nothing, but functions.
            _connect={"yielded": self._progressed, "returned": self._returned, "finished": lambda: self._finished()},
        )

    def cancel(self) -> None:
        """Stop the run in progress."""
        if self.running:
            self.said.emit("Cancelling")
            self._stop()

    def end(self) -> None:
        """End the process, and the run in progress, with the panel or the window."""
        self._ended = True
        if self.running:
            self._stop()
        else:
            self._process.close()

    def _returned(self, outcome: Outcome) -> None:
        self.returned.emit(outcome)

    def _progressed(self, step: Progress) -> None:
        message = step.message or "Working"
        self.said.emit(message)
        bar = self._bar
        if bar is not None:
            if bar.total != step.total:
                bar.reset(step.total)  # the time that is left counts from the first slice
                bar.total = step.total
            bar.set_description(message)
            # Last, because it lets Qt handle events: the run may be over when it comes back.
            bar.update(step.done - bar.n)

    def _finished(self) -> None:
        if self._bar is not None:
            self._bar.close()
        self._worker = self._bar = None
        if self._ended:
            self._process.close()
        else:
            self.finished.emit()

    def _stop(self) -> None:
        self._cancelled.set()
        self._process.cancel()


def _followed(work: Callable[[], Work[Any]], cancelled: Event, cancel: Callable[[], None]) -> Work[Outcome]:
    """Follow work from a thread; errors that a person can understand come back as a result."""
    try:
        result = yield from _heeding(work(), cancelled, cancel)
    except CancelledError:
        return Outcome()
    except UldError as error:
        return Outcome(error=error)
    except (RuntimeError, OSError) as error:
        # Qt's thread would take a RuntimeError for its own end and tell nobody.
        return Outcome(error=WorkerError(f"The detector failed: {error}"))
    return Outcome(result)


def _heeding(work: Work[Any], cancelled: Event, cancel: Callable[[], None]) -> Work[Any]:
    """Pass work on; a cancel from before the process knew of the run is told to it again."""
    with closing(work):
        while True:
            try:
                step = next(work)
            except StopIteration as stop:
                return stop.value
            if cancelled.is_set():
                cancel()
            yield step
